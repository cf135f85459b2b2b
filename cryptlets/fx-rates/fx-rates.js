// Reference rates of the European Central Bank. The ECB publishes, on each TARGET business day at about 16:00 CET, the
// value of one euro in some thirty currencies; a pair without the euro is the quotient of two such values.

import clock from 'bletchley:cryptlet/clock@1.0.0';
import fetch from 'bletchley:cryptlet/fetch@1.0.0';
import { decode, encode } from '../sdk/javascript/abi.js';

// Where the ECB set no rate (weekend, holiday, N/A), the latest rate before that is at most this old.
const FIXING_AGE_DAYS_MAX = 10;
const FIRST_FIXING = '1999-01-04';
const RATE_DECIMALS = 8n;
const DAY_MS = 86_400_000;
const COLUMNS = ['CURRENCY', 'CURRENCY_DENOM', 'TIME_PERIOD', 'OBS_VALUE'];

const invalid = (words) => ({ tag: 'invalid-input', val: words });
const unavailable = (words) => ({ tag: 'unavailable', val: words });

export const handler = {
    handle(method, input) {
        try {
            if (method === 'rate') {
                const [base, quote, date] = decode(['string', 'string', 'uint32'], input);
                const { rateE8, fixing } = rate(base, quote, Number(date));
                return encode(['uint256', 'uint32'], [rateE8, fixing]);
            }
        } catch (error) {
            throw error.tag === undefined ? { tag: 'internal', val: String(error) } : error;
        }
        throw invalid(`fx-rates has no method ${method}`);
    },
};

function rate(base, quote, number) {
    for (const currency of [base, quote]) {
        if (!/^[A-Z]{3}$/.test(currency)) {
            throw invalid(`"${currency.slice(0, 16)}" is not an ISO 4217 code such as USD`);
        }
    }
    if (base === quote) {
        throw invalid(`base and quote are both ${base}`);
    }
    const last = calendarDate(number);
    if (last < FIRST_FIXING) {
        throw invalid(`${last} is before the ECB's first fixing on ${FIRST_FIXING}`);
    }
    const today = iso(clock.now());
    if (last > today) {
        throw invalid(`${last} is in the future: the call is as of ${today}`);
    }
    const asked = [base, quote].filter((currency) => currency !== 'EUR').sort();
    const first = iso(Date.parse(last) - FIXING_AGE_DAYS_MAX * DAY_MS);
    const values = observations(asked, first, last);
    const common = [...values[0].keys()].filter((date) => values.every((series) => series.has(date))).sort();
    if (common.length === 0) {
        throw none(asked, first, last);
    }
    const fixing = common[common.length - 1];
    const value = (currency) =>
        currency === 'EUR' ? { digits: 1n, decimals: 0n } : decimal(values[asked.indexOf(currency)].get(fixing));
    const [of_base, of_quote] = [value(base), value(quote)];
    const numerator = of_quote.digits * 10n ** (RATE_DECIMALS + of_base.decimals);
    const denominator = of_base.digits * 10n ** of_quote.decimals;
    return {
        rateE8: (2n * numerator + denominator) / (2n * denominator),
        fixing: Number(fixing.replaceAll('-', '')),
    };
}

// For each currency, the published values by date.
function observations(currencies, first, last) {
    const path =
        `EXR/D.${currencies.join('+')}.EUR.SP00.A` +
        `?startPeriod=${first}&endPeriod=${last}&format=csvdata&detail=dataonly`;
    const lines = get(path, () => none(currencies, first, last)).split('\n');
    const header = lines[0].trim().split(',');
    const [currency_at, euro_at, date_at, value_at] = COLUMNS.map((column) => header.indexOf(column));
    if ([currency_at, euro_at, date_at, value_at].includes(-1)) {
        throw unavailable('the ECB answered in a form that fx-rates 1 does not know');
    }
    const values = currencies.map(() => new Map());
    for (const line of lines.slice(1)) {
        const row = line.trim().split(',');
        const series = values[currencies.indexOf(row[currency_at])];
        const [date, value] = [row[date_at], row[value_at]];
        // A day without a value is a row without one, or no row at all.
        const counts = row[euro_at] === 'EUR' && date >= first && date <= last && /^\d{1,18}(\.\d{1,18})?$/.test(value);
        if (series !== undefined && counts && decimal(value).digits > 0n) {
            series.set(date, value);
        }
    }
    return values;
}

function get(path, on_nothing) {
    let response;
    try {
        response = fetch.get('ecb', path);
    } catch (error) {
        throw unavailable(`the ECB cannot be asked: ${error.val ?? error.tag}`);
    }
    if (response.status === 404) {
        throw on_nothing();
    }
    if (response.status !== 200) {
        throw unavailable(`the ECB answered with status ${response.status}`);
    }
    let body = '';
    for (const byte of response.body) {
        body += String.fromCharCode(byte);
    }
    return body;
}

function none(currencies, first, last) {
    return invalid(`the ECB set no rate for ${currencies.join(' and ')} from ${first} to ${last}`);
}

function decimal(text) {
    const [whole, part = ''] = text.split('.');
    return { digits: BigInt(whole + part), decimals: BigInt(part.length) };
}

// 20240105 -> 2024-01-05, if there is such a day.
function calendarDate(number) {
    const text = String(number).padStart(8, '0');
    const date = `${text.slice(0, 4)}-${text.slice(4, 6)}-${text.slice(6)}`;
    const time = Date.parse(date);
    if (text.length !== 8 || Number.isNaN(time) || iso(time) !== date) {
        throw invalid(`${number} is not a date as YYYYMMDD`);
    }
    return date;
}

function iso(time_ms) {
    return new Date(time_ms).toISOString().slice(0, 10);
}
