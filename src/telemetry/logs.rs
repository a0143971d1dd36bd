//! Logs: one line a decision, for people or as JSON.

use tracing_subscriber::EnvFilter;

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Logs to standard error from here on: our own lines from `level` on (`error`, `warn`, `info`, `debug`, or a filter in
/// the words of `RUST_LOG`), those of the libraries from `warn` on. Only the first call has an effect.
///
/// # Errors
/// Where the level is none.
pub fn start(level: &str, format: LogFormat) -> Result<(), String> {
    let filter = match level.contains(['=', ',']) {
        true => level.to_owned(),
        false => format!("warn,supercargo={level}"),
    };
    let filter = EnvFilter::try_new(&filter).map_err(|error| format!("log level {level:?}: {error}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // A second start is another controller in one process, whose lines go where those of the first go.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    Ok(())
}
