//! The European Central Bank's reference rates, served as the ECB's own data API serves them: the pure half of a
//! local copy for demos, tests and machines without the internet. It holds the published history and answers
//! request targets; sockets are the caller's.
//!
//! Shape: SDMX 2.1 REST, `EXR/D.<currencies>.EUR.SP00.A?startPeriod=..&endPeriod=..&format=csvdata&detail=dataonly`.

use std::collections::BTreeMap;

/// Longest zip file of the history (642 kB in 2026).
pub const ZIP_SIZE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Longest history as CSV (1.9 MB in 2026).
pub const CSV_SIZE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Address that `fx-rates` declares in its manifest.
pub const ECB_URL_PREFIX: &str = "https://data-api.ecb.europa.eu/service/data/";
/// Path below which the ECB serves data, and this copy too.
pub const ECB_PATH_PREFIX: &str = "/service/data/";

/// Most currencies in one request.
const CURRENCIES_PER_REQUEST_MAX: usize = 64;
/// Most currencies in the history.
const CURRENCIES_MAX: usize = 256;

/// The published history: for each currency, the value of one euro by date.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Currency to date (`YYYY-MM-DD`) to value, exactly as it was published; days without a value are not here.
    rates: BTreeMap<String, BTreeMap<String, String>>,
}

/// An answer over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EcbResponse {
    /// HTTP status.
    pub status: u16,
    /// Value of the `content-type` header.
    pub content_type: &'static str,
    /// Body.
    pub body: String,
}

/// Why a history was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// Too long.
    #[error("the history is more than {0} bytes long")]
    TooLong(usize),
    /// Not a zip file with one deflated or stored file.
    #[error("the history is not a zip file as the ECB publishes it: {0}")]
    Zip(&'static str),
    /// Not the CSV that the ECB publishes.
    #[error("line {line} of the history: {problem}")]
    Csv {
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        problem: &'static str,
    },
}

impl History {
    /// Reads `eurofxref-hist.zip`.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn from_zip(zip: &[u8]) -> Result<Self, HistoryError> {
        Self::from_csv(&unzip(zip)?)
    }

    /// Reads `eurofxref-hist.csv`: a line of currencies, then a line per day, `N/A` where there is no value.
    ///
    /// # Errors
    /// [`HistoryError::Csv`] with the line.
    pub fn from_csv(csv: &str) -> Result<Self, HistoryError> {
        if csv.len() > CSV_SIZE_BYTES_MAX {
            return Err(HistoryError::TooLong(CSV_SIZE_BYTES_MAX));
        }
        let mut lines = csv.lines().map(|line| line.trim_end_matches(','));
        let wrong = |line, problem| HistoryError::Csv { line, problem };
        let header = lines
            .next()
            .and_then(|line| line.strip_prefix("Date,"))
            .ok_or(wrong(1, "it does not begin with Date"))?;
        let currencies: Vec<&str> = header.split(',').map(str::trim).collect();
        if currencies.len() > CURRENCIES_MAX || !currencies.iter().all(|currency| is_currency(currency)) {
            return Err(wrong(1, "not a list of currencies"));
        }
        let mut rates: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (line, row) in (2..).zip(lines) {
            if row.is_empty() {
                continue;
            }
            let mut values = row.split(',').map(str::trim);
            let date = values
                .next()
                .filter(|date| is_date(date))
                .ok_or(wrong(line, "it does not begin with a date"))?;
            let mut columns = currencies.iter();
            for value in values {
                let currency = columns.next().ok_or(wrong(line, "it has more values than currencies"))?;
                if value == "N/A" {
                    continue;
                }
                if !is_decimal(value) {
                    return Err(wrong(line, "a value is not a decimal number"));
                }
                rates.entry((*currency).to_owned()).or_default().insert(date.to_owned(), value.to_owned());
            }
            if columns.next().is_some() {
                return Err(wrong(line, "it has fewer values than currencies"));
            }
        }
        Ok(Self { rates })
    }

    /// Value of one euro in a currency on a day, exactly as it was published.
    #[must_use]
    pub fn value(&self, currency: &str, date: &str) -> Option<&str> {
        self.rates.get(currency)?.get(date).map(String::as_str)
    }

    /// Currencies of the history, in order.
    pub fn currencies(&self) -> impl Iterator<Item = &str> {
        self.rates.keys().map(String::as_str)
    }

    /// Answers the target of a GET request, such as
    /// `/service/data/EXR/D.USD+GBP.EUR.SP00.A?startPeriod=2024-01-01&endPeriod=2024-01-05&format=csvdata`.
    #[must_use]
    pub fn respond(&self, target: &str) -> EcbResponse {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let Some(key) = path.strip_prefix(ECB_PATH_PREFIX).and_then(|rest| rest.strip_prefix("EXR/")) else {
            return plain(404, "No such dataflow. This copy serves EXR only.");
        };
        let Some(currencies) = key.strip_prefix("D.").and_then(|rest| rest.strip_suffix(".EUR.SP00.A"))
        else {
            return plain(404, "No results found. This copy serves the keys D.<currencies>.EUR.SP00.A only.");
        };
        let asked: Vec<&str> = currencies.split('+').filter(|currency| !currency.is_empty()).collect();
        if asked.len() > CURRENCIES_PER_REQUEST_MAX {
            return plain(400, "Too many currencies in one request.");
        }
        let (mut first, mut last) = ("0000-00-00", "9999-99-99");
        for (name, value) in query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        {
            match (name, value) {
                ("startPeriod", date) if is_date(date) => first = date,
                ("endPeriod", date) if is_date(date) => last = date,
                ("format", "csvdata") | ("detail", "dataonly") => {}
                _ => {
                    return plain(
                        400,
                        "This copy knows startPeriod and endPeriod as YYYY-MM-DD, format=csvdata and detail=dataonly.",
                    );
                }
            }
        }
        self.csv(&asked, first, last)
    }

    fn csv(&self, asked: &[&str], first: &str, last: &str) -> EcbResponse {
        let mut body =
            String::from("KEY,FREQ,CURRENCY,CURRENCY_DENOM,EXR_TYPE,EXR_SUFFIX,TIME_PERIOD,OBS_VALUE\r\n");
        let empty = body.len();
        for (currency, rates) in &self.rates {
            // An empty key is SDMX's wildcard.
            if first > last || !(asked.is_empty() || asked.contains(&currency.as_str())) {
                continue;
            }
            for (date, value) in
                rates.range::<str, _>((std::ops::Bound::Included(first), std::ops::Bound::Included(last)))
            {
                for part in
                    ["EXR.D.", currency, ".EUR.SP00.A,D,", currency, ",EUR,SP00,A,", date, ",", value, "\r\n"]
                {
                    body.push_str(part);
                }
            }
        }
        if body.len() == empty {
            return plain(404, "No results found.");
        }
        EcbResponse { status: 200, content_type: "text/csv", body }
    }
}

fn plain(status: u16, body: &str) -> EcbResponse {
    EcbResponse { status, content_type: "text/plain", body: body.to_owned() }
}

fn is_currency(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

fn is_date(text: &str) -> bool {
    text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() })
}

fn is_decimal(text: &str) -> bool {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits =
        |text: &str| (1..=18).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole) && digits(part)
}

/// The one file of a zip archive, found through its central directory (APPNOTE.TXT 4.3).
///
/// # Errors
/// [`HistoryError`].
pub fn unzip(zip: &[u8]) -> Result<String, HistoryError> {
    if zip.len() > ZIP_SIZE_BYTES_MAX {
        return Err(HistoryError::TooLong(ZIP_SIZE_BYTES_MAX));
    }
    let number = |at: usize, size_bytes: usize| -> Option<usize> {
        let bytes = zip.get(at..at.checked_add(size_bytes)?)?;
        Some(bytes.iter().rev().fold(0, |number, byte| (number << 8) | usize::from(*byte)))
    };
    let end = zip
        .windows(4)
        .rposition(|window| window == b"PK\x05\x06")
        .ok_or(HistoryError::Zip("it has no directory"))?;
    let cut_short = HistoryError::Zip("it is cut short");
    let read =
        |at: Option<usize>, size_bytes| at.and_then(|at| number(at, size_bytes)).ok_or(cut_short.clone());
    if read(end.checked_add(10), 2)? != 1 {
        return Err(HistoryError::Zip("it does not hold exactly one file"));
    }
    let entry = read(end.checked_add(16), 4)?;
    if read(Some(entry), 4)? != 0x0201_4b50 {
        return Err(HistoryError::Zip("its directory is damaged"));
    }
    let method = read(entry.checked_add(10), 2)?;
    let size_bytes = read(entry.checked_add(20), 4)?;
    let local = read(entry.checked_add(42), 4)?;
    let names = read(local.checked_add(26), 2)? + read(local.checked_add(28), 2)?;
    let start = local.checked_add(30 + names).ok_or(cut_short.clone())?;
    let body = start.checked_add(size_bytes).and_then(|end| zip.get(start..end)).ok_or(cut_short)?;
    let bytes = match method {
        0 => body.to_vec(),
        8 => miniz_oxide::inflate::decompress_to_vec_with_limit(body, CSV_SIZE_BYTES_MAX)
            .map_err(|_| HistoryError::Zip("its file does not inflate within the bound"))?,
        _ => return Err(HistoryError::Zip("its file is neither stored nor deflated")),
    };
    String::from_utf8(bytes).map_err(|_| HistoryError::Zip("its file is not text"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    const CSV: &str = "Date,USD,JPY,ISK,\n2024-01-05,1.0921,157.65,N/A,\n2024-01-04,1.0953,157.41,149.9,\n";

    #[test]
    fn answers_in_the_ecb_s_shape() {
        let history = History::from_csv(CSV).unwrap();
        let response = history.respond(
            "/service/data/EXR/D.USD+ISK.EUR.SP00.A?startPeriod=2024-01-01&endPeriod=2024-01-05&format=csvdata&detail=dataonly",
        );
        assert_eq!((response.status, response.content_type), (200, "text/csv"));
        assert_eq!(
            response.body,
            "KEY,FREQ,CURRENCY,CURRENCY_DENOM,EXR_TYPE,EXR_SUFFIX,TIME_PERIOD,OBS_VALUE\r\n\
             EXR.D.ISK.EUR.SP00.A,D,ISK,EUR,SP00,A,2024-01-04,149.9\r\n\
             EXR.D.USD.EUR.SP00.A,D,USD,EUR,SP00,A,2024-01-04,1.0953\r\n\
             EXR.D.USD.EUR.SP00.A,D,USD,EUR,SP00,A,2024-01-05,1.0921\r\n"
        );
        assert_eq!(history.respond("/service/data/EXR/D..EUR.SP00.A").body.lines().count(), 6);
    }

    #[test]
    fn has_plain_words_for_what_it_does_not_serve() {
        let history = History::from_csv(CSV).unwrap();
        for (target, status) in [
            ("/service/data/EXR/D.XXX.EUR.SP00.A", 404),
            ("/service/data/EXR/D.USD.EUR.SP00.A?startPeriod=2025-01-01", 404),
            ("/service/data/EXR/D.USD.EUR.SP00.A?startPeriod=2024-01-05&endPeriod=2024-01-04", 404),
            ("/service/data/EXR/M.USD.EUR.SP00.A", 404),
            ("/service/data/ICP/x", 404),
            ("/", 404),
            ("/service/data/EXR/D.USD.EUR.SP00.A?startPeriod=january", 400),
        ] {
            assert_eq!(history.respond(target).status, status, "{target}");
        }
    }

    #[test]
    fn refuses_what_the_ecb_does_not_publish() {
        for bad in [
            "",
            "Day,USD\n",
            "Date,usd\n",
            "Date,USD\nyesterday,1\n",
            "Date,USD\n2024-01-05,1,2\n",
            "Date,USD,JPY\n2024-01-05,1\n",
            "Date,USD\n2024-01-05,1e5\n",
        ] {
            assert!(History::from_csv(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn reads_the_published_file_and_no_damaged_one() {
        let zip = include_bytes!("../../../tests/data/eurofxref-hist.zip");
        let history = History::from_zip(zip).unwrap();
        assert_eq!(history.currencies().count(), 41);
        assert_eq!(history.value("USD", "1999-01-04"), Some("1.1789"));
        assert_eq!(history.value("USD", "2026-10-30"), Some("1.1172"));
        assert_eq!(history.value("USD", "2026-10-31"), None);
        for cut in [0, 3, 21, 30, 1000, zip.len() - 30] {
            assert!(History::from_zip(&zip[..cut]).is_err(), "{cut}");
        }
        // The directory is where a wrong number could lead outside the file.
        for at in zip.len() - 90..zip.len() {
            let mut damaged = zip.to_vec();
            damaged[at] ^= 0xff;
            let _ = unzip(&damaged);
        }
    }
}
