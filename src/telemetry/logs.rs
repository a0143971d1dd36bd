//! Logs: one line a decision, for people or as JSON, of a level that may be changed while the program runs.

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged; it may be changed at any time.
#[derive(Clone, Debug)]
pub struct LogLevel(reload::Handle<EnvFilter, Registry>);

impl LogLevel {
    /// Logs our own lines from `level` on from here on, as [`start`] understands it.
    ///
    /// # Errors
    /// Where the level is none.
    pub fn set(&self, level: &str) -> Result<(), String> {
        let filter = filter(level)?;
        self.0.reload(filter).map_err(|error| error.to_string())
    }

    /// The filter that holds, in the words of `RUST_LOG`.
    pub fn current(&self) -> String {
        self.0.with_current(ToString::to_string).unwrap_or_default()
    }
}

/// Logs to standard error from here on: our own lines from `level` on (`error`, `warn`, `info`, `debug`, or a filter in
/// the words of `RUST_LOG`), those of the libraries from `warn` on. Only the first call has an effect.
///
/// # Errors
/// Where the level is none.
pub fn start(level: &str, format: LogFormat) -> Result<LogLevel, String> {
    let (filter, level) = reload::Layer::new(filter(level)?);
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    // A second start is another controller in one process, whose lines go where those of the first go.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    Ok(LogLevel(level))
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    let filter = match level.contains(['=', ',']) {
        true => level.to_owned(),
        false => format!("warn,supercargo={level}"),
    };
    EnvFilter::try_new(&filter).map_err(|error| format!("log level {level:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn levels_are_ours_and_filters_are_taken_as_they_are() {
        assert_eq!(filter("debug").map(|filter| filter.to_string()), Ok("supercargo=debug,warn".into()));
        assert_eq!(filter("kube=info,off").map(|filter| filter.to_string()), Ok("kube=info,off".into()));
        assert!(filter("loud").is_err());
    }
}
