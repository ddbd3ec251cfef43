//! The command line. By hand: services that depend on the library should not compile a parser.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Command {
    Help,
    RoundTrip(Arguments),
}

#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Arguments {
    pub(crate) producer_profile: PathBuf,
    pub(crate) consumer_profile: PathBuf,
    pub(crate) group_prefix: String,
    pub(crate) timeout: Duration,
    pub(crate) json: bool,
}

impl Command {
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut arguments = arguments.into_iter();
        match arguments.next().as_ref().and_then(|first| first.to_str()) {
            Some("round-trip") => {}
            Some("-h" | "--help" | "help") => return Ok(Self::Help),
            Some(other) => return Err(format!("unknown command `{other}`; there is `round-trip`")),
            None => return Err("a command is missing; there is `round-trip`".into()),
        }
        let (mut producer, mut consumer, mut json) = (None, None, false);
        let mut group_prefix = "caracal-probe".to_owned();
        let mut timeout = Duration::from_secs(60);
        while let Some(flag) = arguments.next() {
            let flag = flag.into_string().map_err(|_| "an argument is not UTF-8".to_owned())?;
            let mut value = || {
                arguments.next().filter(|value| !value.is_empty()).ok_or(format!("`{flag}` needs a value"))
            };
            match flag.as_str() {
                "-h" | "--help" => return Ok(Self::Help),
                "--json" => json = true,
                "--producer-profile" => producer = Some(PathBuf::from(value()?)),
                "--consumer-profile" => consumer = Some(PathBuf::from(value()?)),
                "--group-prefix" => {
                    group_prefix = value()?.into_string().map_err(|_| "the group prefix is not UTF-8")?;
                }
                "--timeout-secs" => {
                    let seconds = value()?.to_str().and_then(|text| text.parse().ok());
                    let seconds = seconds.filter(|seconds| (1..=3600).contains(seconds));
                    timeout = Duration::from_secs(seconds.ok_or("`--timeout-secs` takes 1 to 3600")?);
                }
                _ => return Err(format!("unknown argument `{flag}`")),
            }
        }
        Ok(Self::RoundTrip(Arguments {
            producer_profile: producer.ok_or("`--producer-profile` is missing")?,
            consumer_profile: consumer.ok_or("`--consumer-profile` is missing")?,
            group_prefix,
            timeout,
            json,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        Command::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn defaults_and_values() {
        let whole = "round-trip --producer-profile p --consumer-profile c";
        let Ok(Command::RoundTrip(defaults)) = parse(whole) else { panic!("{:?}", parse(whole)) };
        assert_eq!(defaults.group_prefix, "caracal-probe");
        assert_eq!((defaults.timeout.as_secs(), defaults.json), (60, false));
        let line = format!("{whole} --json --timeout-secs 5 --group-prefix x");
        let Ok(Command::RoundTrip(chosen)) = parse(&line) else { panic!("{:?}", parse(&line)) };
        assert_eq!((chosen.timeout.as_secs(), chosen.json), (5, true));
        assert_eq!(chosen.group_prefix, "x");
        assert_eq!(parse("round-trip --help"), Ok(Command::Help));
    }

    #[test]
    fn faults_are_named() {
        let whole = "round-trip --producer-profile p --consumer-profile c";
        for (line, named) in [
            ("", "command"),
            ("fly", "`fly`"),
            ("round-trip", "--producer-profile"),
            ("round-trip --producer-profile", "--producer-profile"),
            ("round-trip --producer-profile p", "--consumer-profile"),
            (&format!("{whole} --timeout-secs 0"), "1 to 3600"),
            (&format!("{whole} --timeout-secs x"), "1 to 3600"),
            (&format!("{whole} --shout"), "`--shout`"),
        ] {
            let refused = parse(line).expect_err(line);
            assert!(refused.contains(named), "{line}: {refused}");
        }
    }
}
