//! Faults on demand: `SIMCHIP_FAULT`, read anew by every call.
//!
//! A comma-separated list of `name`, `name=value`, each with or without `@device`.

use std::time::Duration;

/// Where the faults are named.
const VARIABLE: &str = "SIMCHIP_FAULT";

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// `create_device_context` returns null.
    Create,
    /// `get_runtime_size` returns 0.
    Size,
    /// `set_device` returns this.
    SetDevice(i32),
    /// `run_runtime` returns this, unrun.
    Run(i32),
    /// `run_runtime` touches memory that is not there.
    Crash,
    /// `run_runtime` aborts the process.
    Abort,
    /// `run_runtime` never returns.
    Hang,
    /// `run_runtime` takes this much longer.
    Slow(Duration),
    /// `finalize_device` returns this.
    Finalize(i32),
    /// `scratch` has no device memory.
    Scratch,
}

/// The faults that concern `device`; without a device, those that name none.
pub(crate) fn faults(device: Option<i32>) -> Result<Vec<Fault>, String> {
    let Some(text) = std::env::var_os(VARIABLE) else { return Ok(Vec::new()) };
    let all = parse(&text.to_string_lossy())?;
    let concern = |on: Option<i32>| on.is_none() || on == device;
    Ok(all.into_iter().filter(|&(_, on)| concern(on)).map(|(fault, _)| fault).collect())
}

fn parse(text: &str) -> Result<Vec<(Fault, Option<i32>)>, String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(parse_one).collect()
}

fn parse_one(word: &str) -> Result<(Fault, Option<i32>), String> {
    let wrong = |why: &str| format!("{VARIABLE}: `{word}` {why}");
    let (what, device) = match word.split_once('@') {
        None => (word, None),
        Some((what, device)) => {
            let device = device.parse().map_err(|_| wrong("names no device behind the `@`"))?;
            (what, Some(device))
        }
    };
    let (name, value) = match what.split_once('=') {
        None => (what, None),
        Some((name, value)) => {
            (name, Some(value.parse::<i32>().map_err(|_| wrong("has no number behind the `=`"))?))
        }
    };
    let code = || value.filter(|&code| code != 0).ok_or_else(|| wrong("needs a code, not 0"));
    let fault = match name {
        "set_device" => Fault::SetDevice(code()?),
        "run" => Fault::Run(code()?),
        "finalize" => Fault::Finalize(code()?),
        "slow" => {
            let ms = value.and_then(|ms| u64::try_from(ms).ok());
            Fault::Slow(Duration::from_millis(ms.ok_or_else(|| wrong("needs milliseconds"))?))
        }
        _ if value.is_some() => return Err(wrong("is not a fault that takes a value")),
        "create" | "size" if device.is_some() => {
            return Err(wrong("comes before any device is set; leave the `@` away"));
        }
        "create" => Fault::Create,
        "size" => Fault::Size,
        "crash" => Fault::Crash,
        "abort" => Fault::Abort,
        "hang" => Fault::Hang,
        "scratch" => Fault::Scratch,
        _ => return Err(wrong("is not a known fault")),
    };
    Ok((fault, device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chip_faults_are_read() {
        let read = parse("run=-5@1, slow=20,,crash ,set_device=3@0,create");
        let slow = Fault::Slow(Duration::from_millis(20));
        let expected = [
            (Fault::Run(-5), Some(1)),
            (slow, None),
            (Fault::Crash, None),
            (Fault::SetDevice(3), Some(0)),
            (Fault::Create, None),
        ];
        assert_eq!(read.unwrap(), expected);
        assert_eq!(parse("").unwrap(), []);
    }

    #[test]
    fn chip_faults_that_cannot_be_are_named() {
        for word in
            ["burn", "run", "run=x", "run=0", "crash=1", "slow", "slow=-1", "hang@x", "create@1"]
        {
            let error = parse(word).unwrap_err();
            assert!(error.contains(&format!("`{word}`")), "{error}");
        }
    }
}
