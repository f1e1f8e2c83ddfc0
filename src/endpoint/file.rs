//! `--config FILE`: `[[endpoint]]` tables, `[limits]`, `[log]` and `[bus]`.
//!
//! Knows TOML, and where in the text a thing stands. It reads no meaning into any key: tables
//! become the same options as a URL's query, and what is wrong with one is told with the file,
//! the line and the column of its key.

use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Endpoint;
use crate::config::ConfigError;
use crate::config::limits::PROCESSES_MAX;
use crate::config::{BusOptions, Limits, Lookups, Trouble, Value, Written};

/// What a configuration file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigFile {
    /// `[[endpoint]]`, in the order of the file.
    pub endpoints: Vec<Endpoint>,
    /// `[limits]`.
    pub limits: Limits,
    /// `[log]`.
    pub log: Log,
    /// `[bus]`: the NATS servers by which several servers share their rooms.
    pub bus: Option<BusOptions>,
    /// `processes`: how many serve the endpoints; absent: one.
    pub processes: Option<u32>,
    /// `user`: who serves, when everything is bound.
    pub user: Option<String>,
    /// `group`, likewise.
    pub group: Option<String>,
}

/// How much is logged, and how a record looks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Log {
    /// Records below this are dropped; `-v` and `-q` go from here.
    pub level: LogLevel,
    /// How a record looks.
    pub format: LogFormat,
    /// Where the audit goes: a file, or `log`; absent: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<String>,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What failed.
    Error,
    /// What may be wrong.
    Warn,
    /// What happened to the server.
    #[default]
    Info,
    /// What happened to each connection.
    Debug,
    /// What mio registers, too. What happened in each turn is told by `serve --trace`.
    Trace,
}

impl From<LogLevel> for log::LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => Self::Off,
            LogLevel::Error => Self::Error,
            LogLevel::Warn => Self::Warn,
            LogLevel::Info => Self::Info,
            LogLevel::Debug => Self::Debug,
            LogLevel::Trace => Self::Trace,
        }
    }
}

/// How a record looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// A file larger than this is not a configuration: 1 MiB is thousands of endpoints.
const FILE_BYTES_MAX: usize = 1 << 20;

impl ConfigFile {
    /// Reads a file.
    pub fn read(path: &Path, lookups: &mut Lookups) -> Result<Self, ConfigError> {
        let place = path.display().to_string();
        let wrong = |problem: String| ConfigError {
            place: place.clone(),
            problem,
        };
        let content = lookups
            .file(path, FILE_BYTES_MAX)
            .map_err(|e| wrong(format!("cannot be read: {e}")))?;
        if content.bytes.len() > FILE_BYTES_MAX {
            return Err(wrong(format!(
                "it is larger than the {FILE_BYTES_MAX} bytes of any configuration"
            )));
        }
        match std::str::from_utf8(&content.bytes) {
            Ok(text) => Self::parse(&place, text),
            Err(_) => Err(wrong("cannot be read: it is not UTF-8".into())),
        }
    }

    /// Reads the text of a file; `place` is the file's name in errors.
    pub fn parse(place: &str, text: &str) -> Result<Self, ConfigError> {
        let at = |span: Range<usize>, problem: String| ConfigError {
            place: position(place, text, span.start),
            problem,
        };
        let table = DeTable::parse(text).map_err(|wrong| {
            // Its Display draws the line in the margin; the sentence alone is what we want.
            at(
                wrong.span().unwrap_or_default(),
                wrong.message().replace('\n', " "),
            )
        })?;
        let mut config = Self::default();
        for (key, value) in table.get_ref() {
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("endpoint", DeValue::Array(tables)) => {
                    for entry in tables {
                        let table = as_table("endpoint", entry, "write [[endpoint]]")
                            .map_err(|wrong| at(entry.span(), wrong))?;
                        let endpoint = read_endpoint(table).map_err(|trouble| {
                            at(span_of(&trouble, table, entry.span()), trouble.problem)
                        })?;
                        config.endpoints.push(endpoint);
                    }
                }
                ("endpoint", _) => {
                    return Err(at(
                        key.span(),
                        "`endpoint` is a list of tables; write [[endpoint]]".into(),
                    ));
                }
                (name @ ("limits" | "log" | "bus"), _) => {
                    let table = as_table(name, value, &format!("write [{name}]"))
                        .map_err(|wrong| at(key.span(), wrong))?;
                    let read = read_options(table, &[]).and_then(|options| {
                        known_keys(name, &options)?;
                        match name {
                            "log" => config.log = options.read()?,
                            "bus" => {
                                let bus: BusOptions = options.read()?;
                                bus.check()?;
                                config.bus = Some(bus);
                            }
                            _ => {
                                config.limits = options.read()?;
                                config.limits.check()?;
                            }
                        }
                        Ok(())
                    });
                    read.map_err(|trouble| {
                        at(span_of(&trouble, table, value.span()), trouble.problem)
                    })?;
                }
                ("processes", value) => {
                    let number = match value {
                        DeValue::Integer(number) => number.as_str().parse::<u32>().ok(),
                        _ => None,
                    };
                    let number = number.filter(|number| (1..=PROCESSES_MAX).contains(number));
                    config.processes = Some(number.ok_or_else(|| {
                        at(
                            key.span(),
                            format!("`processes` is no number from 1 to {PROCESSES_MAX}"),
                        )
                    })?);
                }
                (name @ ("user" | "group"), value) => {
                    let text = match value {
                        DeValue::String(text) => text.to_string(),
                        DeValue::Integer(number) => number.as_str().to_owned(),
                        _ => {
                            let wrong = format!("`{name}` is not a name; put it in quotes");
                            return Err(at(key.span(), wrong));
                        }
                    };
                    match name {
                        "user" => config.user = Some(text),
                        _ => config.group = Some(text),
                    }
                }
                (other, _) => {
                    let known = [
                        "endpoint",
                        "limits",
                        "log",
                        "bus",
                        "processes",
                        "user",
                        "group",
                    ];
                    let trouble = Trouble::unknown("a configuration", "table", other, &known);
                    return Err(at(key.span(), trouble.problem));
                }
            }
        }
        Ok(config)
    }
}

impl ConfigFile {
    /// The text of a file that says the same, with all limits.
    ///
    /// # Errors
    ///
    /// TOML is UTF-8, which the path of a socket need not be.
    pub fn write(&self) -> Result<String, ConfigError> {
        let mut text = String::new();
        if let Some(processes) = self.processes {
            push_line(&mut text, "processes", &i64::from(processes).into());
        }
        for (key, value) in [("user", &self.user), ("group", &self.group)] {
            if let Some(value) = value {
                push_line(&mut text, key, &value.as_str().into());
            }
        }
        for endpoint in &self.endpoints {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str("[[endpoint]]\n");
            write_endpoint(&mut text, endpoint)?;
        }
        write_table(&mut text, "limits", &self.limits);
        write_table(&mut text, "log", &self.log);
        if let Some(bus) = &self.bus {
            write_table(&mut text, "bus", bus);
        }
        Ok(text)
    }
}

fn write_endpoint(text: &mut String, endpoint: &Endpoint) -> Result<(), ConfigError> {
    let (row, transport) = (endpoint.row, endpoint.address.transport());
    push_line(text, "service", &row.name.into());
    if transport != row.usual {
        push_line(text, "transport", &transport.name().into());
    }
    let address = endpoint
        .address
        .text()
        .ok_or_else(|| ConfigError::at(endpoint, "its path is not UTF-8, and a file of TOML is"))?;
    push_line(text, "address", &address.into());
    for (name, values) in endpoint.written().iter() {
        let mut values: Vec<toml::Value> = values.iter().map(as_toml).collect();
        let value = match values.len() {
            1 => values.remove(0),
            _ => values.into(),
        };
        push_line(text, name, &value);
    }
    Ok(())
}

fn as_toml(value: &Value) -> toml::Value {
    match value {
        Value::Text(text) => text.as_str().into(),
        Value::Bool(value) => (*value).into(),
        Value::Integer(value) => (*value).into(),
    }
}

fn push_line(text: &mut String, key: &str, value: &toml::Value) {
    text.push_str(&format!("{key} = {value}\n"));
}

fn write_table<T: Serialize>(text: &mut String, name: &str, table: &T) {
    if let Ok(lines) = toml::to_string(table) {
        text.push_str(&format!("\n[{name}]\n{lines}"));
    }
}

fn as_table<'v, 'i>(
    name: &str,
    value: &'v Spanned<DeValue<'i>>,
    right: &str,
) -> Result<&'v DeTable<'i>, String> {
    match value.get_ref() {
        DeValue::Table(table) => Ok(table),
        _ => Err(format!("`{name}` is not a table; {right}")),
    }
}

fn read_endpoint(table: &DeTable<'_>) -> Result<Endpoint, Trouble> {
    let own = ["service", "transport", "address"];
    let text = |name: &str| match table.get(name).map(Spanned::get_ref) {
        None => Ok(None),
        Some(DeValue::String(text)) => Ok(Some(text.to_string())),
        // `address = 3` is how one writes a descriptor.
        Some(DeValue::Integer(number)) if name == "address" => Ok(Some(number.to_string())),
        Some(_) => Err(Trouble::of(
            name,
            format!("`{name}` is not text; put it in quotes"),
        )),
    };
    let needed = |name: &str, example: &str| {
        text(name)?.ok_or_else(|| {
            Trouble::new(format!(
                "this endpoint has no `{name}`; write {name} = \"{example}\""
            ))
        })
    };
    let service = needed("service", "echo")?;
    let address = needed("address", "127.0.0.1:9000")?;
    let options = read_options(table, &own)?;
    Endpoint::build(&service, text("transport")?.as_deref(), &address, options)
}

fn read_options(table: &DeTable<'_>, except: &[&str]) -> Result<Written, Trouble> {
    let mut options = Written::default();
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        if except.contains(&name) {
            continue;
        }
        match value.get_ref() {
            DeValue::Array(values) if values.is_empty() => {}
            DeValue::Array(values) => {
                for value in values {
                    options.push(name, read_value(name, value.get_ref())?);
                }
            }
            value => options.push(name, read_value(name, value)?),
        }
    }
    Ok(options)
}

fn read_value(name: &str, value: &DeValue<'_>) -> Result<Value, Trouble> {
    let no_value =
        |what: &str| Trouble::of(name, format!("option `{name}`: {what} is no value here"));
    match value {
        DeValue::String(text) => Ok(text.as_ref().into()),
        DeValue::Boolean(value) => Ok((*value).into()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(Value::from)
            .map_err(|_| no_value(number.as_str())),
        DeValue::Float(number) => Err(no_value(number.as_str())),
        DeValue::Datetime(_) => Err(no_value("a date")),
        DeValue::Array(_) => Err(no_value("a list in a list")),
        DeValue::Table(_) => Err(no_value("a table")),
    }
}

fn known_keys(table: &str, options: &Written) -> Result<(), Trouble> {
    let known = match table {
        "log" => crate::config::keys_of::<Log>(),
        "bus" => crate::config::keys_of::<BusOptions>(),
        _ => crate::config::keys_of::<Limits>(),
    };
    match options.iter().find(|(name, _)| !known.contains(name)) {
        Some((name, _)) => Err(Trouble::unknown(
            &format!("`[{table}]`"),
            "key",
            name,
            known,
        )),
        None => Ok(()),
    }
}

/// Where the trouble is: at its key if the table has it, else at the table.
fn span_of(trouble: &Trouble, table: &DeTable<'_>, whole: Range<usize>) -> Range<usize> {
    table
        .iter()
        .find(|(key, _)| Some(key.get_ref().as_ref()) == trouble.option.as_deref())
        .map_or(whole, |(key, _)| key.span())
}

fn position(place: &str, text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    format!("{place}, line {line}, column {column}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        ConfigFile::parse("a.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn a_file_says_what_urls_say() {
        let config = ConfigFile::parse(
            "a.toml",
            r#"
            [limits]
            connections = 500
            out-pause = "512K"
            drain-timeout = "2s"
            commands = 0x4
            turn-abort = "off"

            [log]
            level = "debug"
            format = "json"

            [[endpoint]]
            service = "greeting"
            address = "127.0.0.1:8898"
            greeting = ["hello", "a&b=%41"]
            reply = "hi"

            [[endpoint]]
            service = "echo"
            transport = "unix"
            address = "/run/a b%41"
            mode = "0660"
            max-connections = 7
            idle-timeout = "1m"

            [[endpoint]]
            service = "chat+fd"
            address = 3
            flood = true
            history = 10
            "#,
        )
        .unwrap_or_else(|wrong| panic!("{wrong}"));
        let urls: Vec<String> = config.endpoints.iter().map(Endpoint::to_string).collect();
        assert_eq!(
            urls,
            [
                "greeting://127.0.0.1:8898?greeting=hello&greeting=a%26b%3D%2541&reply=hi",
                "echo+unix:///run/a%20b%2541?idle-timeout=1m&max-connections=7&mode=0660",
                "chat+fd://3?flood=on&history=10",
            ]
        );
        assert_eq!(config.limits.connections, Some(500));
        assert_eq!(config.limits.out_pause, 512 << 10);
        assert_eq!(config.limits.drain_timeout.as_secs(), 2);
        assert_eq!(
            (config.limits.commands, config.limits.turn_abort),
            (4, None)
        );
        assert_eq!(
            config.log,
            Log {
                level: LogLevel::Debug,
                format: LogFormat::Json,
                audit: None,
            }
        );
        assert_eq!(ConfigFile::parse("a.toml", ""), Ok(ConfigFile::default()));
    }

    #[test]
    fn what_is_wrong_is_told_with_line_and_column() {
        let echo = "[[endpoint]]\nservice = \"echo\"\naddress = \"127.0.0.1:9000\"\n";
        for (text, place, piece) in [
            (
                format!("{echo}  opne = true"),
                "line 4, column 3",
                "no option `opne`, perhaps `open` was meant (known: ",
            ),
            (
                format!("{echo}open = \"yes\""),
                "line 4, column 1",
                "option `open`: `yes` is neither true",
            ),
            (
                format!("{echo}idle-timeout = 60"),
                "line 4, column 1",
                "`60` is not a duration",
            ),
            (
                format!("{echo}mode = 600"),
                "line 4, column 1",
                "only a Unix socket",
            ),
            (
                format!("{echo}open = 1.5"),
                "line 4, column 1",
                "1.5 is no value here",
            ),
            (
                format!("{echo}open = {{ a = 1 }}"),
                "line 4, column 1",
                "a table is no value here",
            ),
            (
                format!("{echo}open = [true, true]"),
                "line 4, column 1",
                "given 2 times",
            ),
            (
                format!("{echo}max-connections = -1"),
                "line 4, column 1",
                "not a whole number",
            ),
            (
                format!("{echo}{echo}flood = true"),
                "line 7, column 1",
                "belongs to chat, not to `echo`",
            ),
            (
                format!("{echo}transport = \"upd\""),
                "line 4, column 1",
                "perhaps `udp`",
            ),
            (
                "[[endpoint]]\nservice = \"ehco\"\naddress = \"h:1\"".into(),
                "line 2, column 1",
                "perhaps `echo`",
            ),
            (
                "[[endpoint]]\nservice = \"echo\"\naddress = \"h\"".into(),
                "line 3, column 1",
                "has no port",
            ),
            (
                "\n[[endpoint]]\nservice = \"echo\"".into(),
                "line 2, column 1",
                "this endpoint has no `address`; write address = ",
            ),
            (
                "[[endpoint]]\naddress = \"h:1\"".into(),
                "line 1, column 1",
                "has no `service`",
            ),
            (
                "[[endpoint]]\nservice = 3".into(),
                "line 2, column 1",
                "put it in quotes",
            ),
            (
                "[[endpoint]]\nservice = \"echo+unix\"\naddress = \"/a\"\nmode = 0o600".into(),
                "line 4, column 1",
                "put it in quotes",
            ),
            (
                "[endpoint]\nservice = \"echo\"".into(),
                "line 1, column 2",
                "write [[endpoint]]",
            ),
            (
                "endpoint = [3]".into(),
                "line 1, column 13",
                "write [[endpoint]]",
            ),
            (
                "[limits]\nconnectoins = 3".into(),
                "line 2, column 1",
                "`[limits]` has no key `connectoins`, perhaps `connections` was meant (known: connections, not-logged-in",
            ),
            (
                "[limits]\n\nframe = 0".into(),
                "line 3, column 1",
                "limit `frame`: 0",
            ),
            ("limits = 3".into(), "line 1, column 1", "write [limits]"),
            (
                "[bus]\n".into(),
                "line 1, column 1",
                "`[bus]` names no server",
            ),
            (
                "[bus]\nurl = \"nats://h\"\nreplicas = 9".into(),
                "line 3, column 1",
                "1 to 5 copies",
            ),
            (
                "[bus]\n\nurl = \"redis://h\"".into(),
                "line 3, column 1",
                "`redis://h` is no bus",
            ),
            (
                "[bus]\nurls = \"nats://h\"".into(),
                "line 2, column 1",
                "perhaps `url` was meant",
            ),
            (
                "[log]\nlevel = \"loud\"".into(),
                "line 2, column 1",
                "`loud` is not off, error, warn, info, debug or trace",
            ),
            (
                "[limit]".into(),
                "line 1, column 2",
                "no table `limit`, perhaps `limits` was meant",
            ),
            (
                "a = \"你\" b".into(),
                "line 1, column 9",
                "expected newline",
            ),
            (
                "[log]\nlevel = \"warn\"\nlevel = \"warn\"".into(),
                "line 3, column 1",
                "duplicate",
            ),
        ] {
            let said = refusal(&text);
            assert!(
                said.starts_with(&format!("a.toml, {place}: ")),
                "{text}\n{said}"
            );
            assert!(said.contains(piece), "{text}\n{said}");
            assert!(!said.contains('\n'), "{said}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let said = ConfigFile::read(Path::new("/nowhere/a.toml"), &mut Lookups::live())
            .unwrap_err()
            .to_string();
        assert!(
            said.starts_with("/nowhere/a.toml: cannot be read: "),
            "{said}"
        );
    }
}
