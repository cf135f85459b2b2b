// Reference rates of the European Central Bank. The ECB publishes, on each TARGET business day at about 16:00 CET, the
// value of one euro in some thirty currencies; a pair without the euro is the quotient of two such values.

import clock from 'bletchley:cryptlet/clock@1.0.0';
import fetch from 'bletchley:cryptlet/fetch@1.0.0';
import { decode, encode, latin1 } from '../sdk/javascript/abi.js';

// Where the ECB set no rate (weekend, holiday, N/A), the latest rate before that is at most this old.
const FIXING_AGE_DAYS_MAX = 10;
const FIRST_FIXING = '1999-01-04';
const RATE_DECIMALS = 8n;
const DAY_MS = 86_400_000;
// Columns of the ECB's CSV that stand side by side in every row.
const COLUMNS = 'CURRENCY,CURRENCY_DENOM,EXR_TYPE,EXR_SUFFIX,TIME_PERIOD,OBS_VALUE';

const invalid = (words) => ({ tag: 'invalid-input', val: words });
const unavailable = (words) => ({ tag: 'unavailable', val: words });

export const handler = {
    handle(method, input) {
        try {
            if (method === 'rate') {
                const [base, quote, date] = decode(['string', 'string', 'uint32'], input);
                const { rateE8, fixing } = rate(base, quote, date);
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
    const newest = Date.parse(last);
    const rows = observations(asked, iso(newest - FIXING_AGE_DAYS_MAX * DAY_MS), last);
    for (let age = 0; age <= FIXING_AGE_DAYS_MAX; age += 1) {
        const date = iso(newest - age * DAY_MS);
        const [of_base, of_quote] = [value(rows, base, date), value(rows, quote, date)];
        if (of_base !== null && of_quote !== null) {
            const numerator = of_quote.digits * 10n ** (RATE_DECIMALS + of_base.decimals);
            const denominator = of_base.digits * 10n ** of_quote.decimals;
            return {
                rateE8: (2n * numerator + denominator) / (2n * denominator),
                fixing: Number(date.replaceAll('-', '')),
            };
        }
    }
    throw none(asked, last);
}

// The ECB's rows for these currencies and dates, as it serves them.
function observations(currencies, first, last) {
    const path =
        `EXR/D.${currencies.join('+')}.EUR.SP00.A` +
        `?startPeriod=${first}&endPeriod=${last}&format=csvdata&detail=dataonly`;
    const rows = get(path, () => none(currencies, last));
    if (!rows.slice(0, rows.indexOf('\n')).includes(COLUMNS)) {
        throw unavailable('the ECB answered in a form that fx-rates 1 does not know');
    }
    return rows;
}

// The value of one euro on a date, or null: a day without a value is a row without one, or no row at all. Found by
// its text and not by parsing every row, most of which are never asked for.
function value(rows, currency, date) {
    if (currency === 'EUR') {
        return { digits: 1n, decimals: 0n };
    }
    const key = `,${currency},EUR,SP00,A,${date},`;
    const at = rows.indexOf(key);
    const found = at < 0 ? null : /^(\d{1,18})(?:\.(\d{1,18}))?[\r\n,]/.exec(rows.substr(at + key.length, 40));
    if (found === null) {
        return null;
    }
    const [, whole, part = ''] = found;
    const digits = BigInt(whole + part);
    return digits > 0n ? { digits, decimals: BigInt(part.length) } : null;
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
    return latin1(response.body);
}

function none(currencies, last) {
    const where = `${last} or the ${FIXING_AGE_DAYS_MAX} days before`;
    return invalid(`the ECB set no rate for ${currencies.join(' and ')} on ${where}`);
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
