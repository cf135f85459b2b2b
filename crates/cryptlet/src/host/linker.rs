//! The host's side of `wit/cryptlet.wit`: one linker per world, so that what a world does not grant does not exist.

use wasmtime::{
    Engine, StoreContextMut,
    component::{Linker, LinkerInstance, WasmStr},
};

use super::{
    limits,
    state::{Abort, CallState, byte_fuel, charge, charge_fuel},
    wire::{CallContext, FetchError, FetchResponse, LogLevel},
};
use crate::{
    container::FailureKind,
    fetch::{Fetched, PATH_SIZE_BYTES_MAX},
    manifest::{NAME_SIZE_BYTES_MAX, World},
};

type Store<'a> = StoreContextMut<'a, CallState>;

/// The linker of a world.
pub(super) fn linker(engine: &Engine, world: World) -> wasmtime::Result<Linker<CallState>> {
    let mut linker = Linker::new(engine);
    linker.instance("bletchley:cryptlet/types@1.0.0")?;
    context(&mut linker.instance("bletchley:cryptlet/context@1.0.0")?)?;
    clock(&mut linker.instance("bletchley:cryptlet/clock@1.0.0")?)?;
    random(&mut linker.instance("bletchley:cryptlet/random@1.0.0")?)?;
    log(&mut linker.instance("bletchley:cryptlet/log@1.0.0")?)?;
    if world == World::Oracle {
        fetch(&mut linker.instance("bletchley:cryptlet/fetch@1.0.0")?)?;
    }
    Ok(linker)
}

fn context(instance: &mut LinkerInstance<'_, CallState>) -> wasmtime::Result<()> {
    instance.func_wrap("current", |mut store: Store<'_>, (): ()| {
        let call = &store.data().call;
        let context = CallContext {
            call_id: call.call_id.to_vec(),
            ledger: call.ledger.0.to_vec(),
            height: call.height.0,
            block_time_ms: call.block_time.0,
            caller: call.caller.to_vec(),
        };
        let noted = [
            context.call_id.as_slice(),
            &context.ledger,
            &context.height.to_be_bytes(),
            &context.block_time_ms.to_be_bytes(),
            &context.caller,
        ]
        .concat();
        charge(&mut store, noted.len())?;
        store.data_mut().note("context.current", &[], &noted);
        Ok((context,))
    })
}

fn clock(instance: &mut LinkerInstance<'_, CallState>) -> wasmtime::Result<()> {
    instance.func_wrap("now", |mut store: Store<'_>, (): ()| {
        charge(&mut store, size_of::<u64>())?;
        let now_ms = store.data().call.as_of.0;
        store.data_mut().note("clock.now", &[], &now_ms.to_be_bytes());
        Ok((now_ms,))
    })
}

fn random(instance: &mut LinkerInstance<'_, CallState>) -> wasmtime::Result<()> {
    instance.func_wrap("bytes", |mut store: Store<'_>, (size_bytes,): (u32,)| {
        if size_bytes > limits::RANDOM_SIZE_BYTES_MAX {
            let reason = format!("more than {} random bytes at once", limits::RANDOM_SIZE_BYTES_MAX);
            return Err(Abort::failed(FailureKind::HostCallLimit, reason).into());
        }
        charge(&mut store, size_bytes as usize)?;
        let state = store.data_mut();
        let bytes = state.random(size_bytes as usize);
        state.note("random.bytes", &size_bytes.to_be_bytes(), &bytes);
        Ok((bytes,))
    })
}

fn log(instance: &mut LinkerInstance<'_, CallState>) -> wasmtime::Result<()> {
    instance.func_wrap("emit", |mut store: Store<'_>, (level, message): (LogLevel, WasmStr)| {
        let text = message.to_str(&store)?;
        let moved_bytes = text.len();
        let end =
            (0..=limits::LOG_MESSAGE_SIZE_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let kept = text.get(..end.min(moved_bytes)).unwrap_or_default().to_owned();
        charge(&mut store, moved_bytes)?;
        let state = store.data_mut();
        let mut noted = vec![level as u8];
        noted.extend(kept.as_bytes());
        state.note("log.emit", &noted, &[]);
        state.log(level, &kept);
        Ok(())
    })
}

fn fetch(instance: &mut LinkerInstance<'_, CallState>) -> wasmtime::Result<()> {
    instance.func_wrap("get", |mut store: Store<'_>, (source, path): (WasmStr, WasmStr)| {
        let source = bounded(&store, &source, NAME_SIZE_BYTES_MAX, "name of a source")?;
        let path = bounded(&store, &path, PATH_SIZE_BYTES_MAX, "path of a fetch")?;
        charge(&mut store, source.len() + path.len())?;
        charge_fuel(&mut store, limits::FETCH_FUEL)?;
        let fetched = store.data_mut().fetch(&source, &path)?;
        let answer = match fetched {
            Fetched::Response { status, body } => Ok(FetchResponse { status, body: body.to_vec() }),
            Fetched::Denied(words) => Err(FetchError::Denied(words)),
            Fetched::Unavailable(words) => Err(FetchError::Unavailable(words)),
            Fetched::TooLarge(size_bytes_max) => Err(FetchError::TooLarge(size_bytes_max)),
        };
        let moved_bytes = match &answer {
            Ok(response) => response.body.len(),
            Err(FetchError::Denied(words) | FetchError::Unavailable(words)) => words.len(),
            Err(FetchError::TooLarge(_)) => 0,
        };
        charge_fuel(&mut store, byte_fuel(moved_bytes))?;
        Ok((answer,))
    })
}

fn bounded(store: &Store<'_>, text: &WasmStr, size_bytes_max: usize, what: &str) -> wasmtime::Result<String> {
    let text = text.to_str(store)?;
    if text.len() > size_bytes_max {
        let reason = format!("a {what} longer than {size_bytes_max} bytes");
        return Err(Abort::failed(FailureKind::HostCallLimit, reason).into());
    }
    Ok(text.into_owned())
}
