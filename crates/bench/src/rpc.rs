//! Just enough JSON-RPC to drive a node: single calls, and batches of raw transactions over kept-alive connections.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// One call.
pub(crate) fn call(url: &str, method: &str, params: &Value) -> Result<Value> {
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let mut response = ureq::post(url).send_json(&request)?;
    let answer: Value = response.body_mut().with_config().limit(256 << 20).read_json()?;
    match answer.get("error") {
        Some(error) => bail!("{method}: {error}"),
        None => Ok(answer.get("result").cloned().unwrap_or(Value::Null)),
    }
}

/// A hex quantity.
pub(crate) fn quantity(value: &Value) -> Result<u64> {
    let text = value.as_str().context("not a quantity")?;
    Ok(u64::from_str_radix(text.trim_start_matches("0x"), 16)?)
}

/// Bodies of batched `eth_sendRawTransaction`, built before the clock starts.
pub(crate) fn batches(raw: &[Vec<u8>], batch: usize) -> Vec<String> {
    raw.chunks(batch)
        .map(|chunk| {
            let requests: Vec<String> = chunk
                .iter()
                .enumerate()
                .map(|(id, tx)| {
                    let hex = alloy_primitives::hex::encode(tx);
                    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"eth_sendRawTransaction","params":["0x{hex}"]}}"#)
                })
                .collect();
            format!("[{}]", requests.join(","))
        })
        .collect()
}

/// Posts each lane's bodies in order, one connection a lane, and fails on the first refused transaction.
pub(crate) fn post_lanes(url: &str, lanes: Vec<Vec<String>>) -> Result<()> {
    post_lanes_to(&[url.to_owned()], lanes)
}

/// The same, lanes on these endpoints in turn.
pub(crate) fn post_lanes_to(urls: &[String], lanes: Vec<Vec<String>>) -> Result<()> {
    let threads: Vec<_> = lanes
        .into_iter()
        .zip(urls.iter().cycle())
        .map(|(bodies, url)| {
            let url = url.to_owned();
            std::thread::spawn(move || -> Result<()> {
                let agent = ureq::Agent::new_with_defaults();
                for body in bodies {
                    let mut response =
                        agent.post(&url).header("content-type", "application/json").send(body.as_str())?;
                    let text = response.body_mut().with_config().limit(64 << 20).read_to_string()?;
                    if let Some(at) = text.find("\"error\"") {
                        bail!("refused: {}", text.get(at..text.len().min(at + 300)).unwrap_or_default());
                    }
                }
                Ok(())
            })
        })
        .collect();
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("a loader thread failed"))??;
    }
    Ok(())
}

/// Waits until `expected` transactions stand in blocks above `from`; returns the last block's number.
pub(crate) fn await_mined(url: &str, from: u64, expected: u64, limit: Duration) -> Result<u64> {
    let started = Instant::now();
    let (mut next, mut mined) = (from + 1, 0);
    loop {
        let head = quantity(&call(url, "eth_blockNumber", &json!([]))?)?;
        while next <= head {
            mined += quantity(&call(
                url,
                "eth_getBlockTransactionCountByNumber",
                &json!([format!("{next:#x}")]),
            )?)?;
            next += 1;
        }
        if mined >= expected {
            return Ok(head);
        }
        if started.elapsed() > limit {
            bail!("{mined} of {expected} transactions in blocks after {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
