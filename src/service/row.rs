//! What a service declares about itself, once, beside its code.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::tz::TimeZone;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Bus, Datagrams, Service, Set};
use crate::config::{Limits, Policy, Transport, Trouble, Written, keys_of};

/// A service: its name, what it goes over, and how it is made from its options.
///
/// Two rows are equal when their names are; the address of a constant is nobody's promise.
pub struct Row {
    /// The name before `://`.
    pub name: &'static str,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// What `NAME://` without `+TRANSPORT` means.
    pub usual: Transport,
    /// The half that serves connections: over TCP, Unix sockets and inherited listeners.
    pub stream: Option<&'static dyn Half<dyn Service>>,
    /// The half that serves datagrams: over UDP and inherited datagram sockets.
    pub datagrams: Option<&'static dyn Half<dyn Datagrams>>,
}

impl Row {
    /// What it goes over; the usual one first.
    pub fn transports(&self) -> Vec<Transport> {
        let mut over: Vec<Transport> = Transport::ALL
            .into_iter()
            .filter(|transport| self.schema(*transport).is_some())
            .collect();
        over.sort_by_key(|transport| *transport != self.usual);
        over
    }

    /// The options over this transport; of an inherited descriptor, whose kind is not known before
    /// it is adopted, those of a stream if the service has that half.
    pub fn schema(&self, over: Transport) -> Option<&'static dyn Schema> {
        let stream = self.stream.map(|half| half as &dyn Schema);
        let datagrams = self.datagrams.map(|half| half as &dyn Schema);
        match over {
            Transport::Tcp | Transport::Unix => stream,
            Transport::Udp => datagrams,
            Transport::Fd => stream.or(datagrams),
        }
    }

    /// The options over this transport, by name; none if it does not go over it.
    pub fn keys(&self, over: Transport) -> &'static [&'static str] {
        self.schema(over).map_or(&[], |schema| schema.keys())
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Row) -> bool {
        self.name == other.name
    }
}

impl Eq for Row {}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A struct of options. Its fields are their names, and its `Default` is what goes without saying.
pub trait Checked: DeserializeOwned + Serialize + Default + 'static {
    /// Which of them are about the connections of one listener only. Endpoints that share a value may have others,
    /// and a value stays when they change.
    const OF_LISTENER: &'static [&'static str] = &[];

    /// The port of an address that is written without one, if the service has one of its own.
    const PORT: Option<u16> = None;

    /// The name under which endpoints share a value, if they do.
    fn set(&self) -> Option<&str> {
        None
    }

    /// Whether a datagram endpoint with these is served over TCP, too, at the same address and by the same value.
    fn has_both_halves(&self) -> bool {
        false
    }

    /// What no single option is wrong about alone.
    fn check(&self) -> Result<(), Trouble> {
        Ok(())
    }

    /// An endpoint of the same service that is served wherever one with these options is.
    fn companion(&self) -> Option<Companion> {
        None
    }

    /// What is wrong about them with these limits of the server.
    fn fits(&self, _limits: &Limits) -> Result<(), Trouble> {
        Ok(())
    }

    /// Whether several processes may serve it, each with a value of its own.
    fn several(&self) -> Several {
        Several::Yes
    }

    /// What it would mean if a stranger reached a service with these options.
    fn class(&self) -> Class {
        Class::Plain
    }

    /// Which commands a service with these options runs, if it runs any, and within what.
    fn policy(&self) -> Option<Policy> {
        None
    }

    /// What clients may do, where the options alone do not say it to everybody.
    fn allows(&self) -> Option<String> {
        None
    }

    /// Whether what it needs besides is there. Opens nothing for good.
    fn probe(&self) -> Result<(), Trouble> {
        Ok(())
    }

    /// How many descriptors it needs besides those of its connections.
    fn descriptors(&self) -> usize {
        0
    }

    /// The file that it reads when the server starts and when it reads its configuration again, if it has one.
    fn file(&self) -> Option<OwnFile> {
        None
    }

    /// What is wrong with the content of that.
    fn check_file(_content: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

/// A file that a service reads, and that nobody but its owner may read or write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnFile {
    /// The option that names it.
    pub option: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// How long it may be, in bytes.
    pub bytes_max: usize,
    /// What makes one, as the user would type it.
    pub made_by: &'static str,
}

/// An endpoint that goes with another one, on a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Companion {
    /// Where.
    pub path: PathBuf,
    /// With which options of the service.
    pub options: Written,
}

/// The options of a service that has none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoOptions {}

impl Checked for NoOptions {}

/// What it would mean if a stranger reached the service: a row of the threat model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Nothing that `open=true` may not allow.
    Plain,
    /// The stranger would say who may be there.
    Operators,
    /// The stranger would read figures, as a program does that cannot answer a challenge.
    Figures,
    /// The stranger would run commands.
    Commands,
    /// The stranger would read what one command writes, and run none.
    Output,
    /// The stranger would speak as the person whose server it is.
    Person,
    /// The stranger would store files.
    Uploads,
    /// The stranger would read files that are not for everybody.
    Downloads,
}

/// Whether several processes may serve an endpoint (`serve --processes`): each has a value of the service, and a client
/// is with whichever process its connection or its datagram comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Several {
    /// No client can tell.
    Yes,
    /// What the values have in common comes by a bus; without one, this is in the way.
    WithBus(&'static str),
    /// This is in the way.
    No(&'static str),
}

/// The options that a half of a service takes, as they are written.
pub trait Schema: Sync {
    /// Their names.
    fn keys(&self) -> &'static [&'static str];

    /// Reads and checks them; gives them back without what is at its default, and which clients
    /// the service may be open to with them.
    fn read(&self, written: &Written) -> Result<(Written, Class), Trouble>;

    /// Whether they, once read, fit the limits of the server.
    fn fits(&self, written: &Written, limits: &Limits) -> Result<(), Trouble>;

    /// Whether several processes may serve the service with them.
    fn several(&self, written: &Written) -> Result<Several, Trouble>;

    /// Which commands the service runs with them, if it runs any.
    fn policy(&self, written: &Written) -> Result<Option<Policy>, Trouble>;

    /// What clients may do with them, in words.
    fn allows(&self, written: &Written) -> Result<Option<String>, Trouble>;

    /// Whether what the service needs besides is there.
    fn probe(&self, written: &Written) -> Result<(), Trouble>;

    /// How many descriptors it needs besides those of its connections.
    fn descriptors(&self, written: &Written) -> Result<usize, Trouble>;

    /// The file that the service reads with them, if it reads one.
    fn file(&self, written: &Written) -> Result<Option<OwnFile>, Trouble>;

    /// What is wrong with the content of that.
    fn check_file(&self, content: &[u8]) -> Result<(), String>;

    /// The endpoint that goes with one that has these, if one does.
    fn companion(&self, written: &Written) -> Result<Option<Companion>, Trouble>;

    /// Which of them are about the connections of one listener only.
    fn of_listener(&self) -> &'static [&'static str];

    /// The port of an address that is written without one.
    fn port(&self) -> Option<u16>;

    /// Whether a datagram endpoint with these is served over TCP, too, by the same value.
    fn has_both_halves(&self, written: &Written) -> Result<bool, Trouble>;

    /// The set of endpoints of this service that share a value with one that has these, if it does.
    fn set(&self, service: &'static str, written: &Written) -> Result<Option<Set>, Trouble>;
}

/// One half of a service, with options of its own.
pub trait Half<S: ?Sized>: Schema {
    /// The service with these options.
    fn build(&self, written: &Written, setting: &Setting<'_>) -> Result<Box<S>, Trouble>;
}

/// What a service is given besides its options, when it is made.
#[derive(Debug)]
pub struct Setting<'a> {
    /// The limits of the server.
    pub limits: &'a Limits,
    /// The local time zone: read before the loop starts, since the loop reads no files.
    pub zone: &'a TimeZone,
    /// Whether more than this machine may reach the endpoint.
    pub is_open: bool,
    /// By what servers share their rooms, if there is one.
    pub bus: Option<&'a Arc<Bus>>,
}

/// A half whose options are a `T`, and how it is made of them.
#[derive(Debug)]
pub struct Takes<T, S: ?Sized> {
    /// Makes the service.
    pub build: fn(&T, &Setting<'_>) -> Box<S>,
}

/// The half that serves connections.
pub type OverStreams<T> = Takes<T, dyn Service>;

/// The half that serves datagrams.
pub type OverDatagrams<T> = Takes<T, dyn Datagrams>;

impl<T: Checked, S: ?Sized> Schema for Takes<T, S> {
    fn keys(&self) -> &'static [&'static str] {
        keys_of::<T>()
    }

    fn read(&self, written: &Written) -> Result<(Written, Class), Trouble> {
        let options: T = written.read()?;
        options.check()?;
        Ok((Written::of(&options), options.class()))
    }

    fn fits(&self, written: &Written, limits: &Limits) -> Result<(), Trouble> {
        written.read::<T>()?.fits(limits)
    }

    fn several(&self, written: &Written) -> Result<Several, Trouble> {
        Ok(written.read::<T>()?.several())
    }

    fn policy(&self, written: &Written) -> Result<Option<Policy>, Trouble> {
        Ok(written.read::<T>()?.policy())
    }

    fn allows(&self, written: &Written) -> Result<Option<String>, Trouble> {
        Ok(written.read::<T>()?.allows())
    }

    fn probe(&self, written: &Written) -> Result<(), Trouble> {
        written.read::<T>()?.probe()
    }

    fn descriptors(&self, written: &Written) -> Result<usize, Trouble> {
        Ok(written.read::<T>()?.descriptors())
    }

    fn file(&self, written: &Written) -> Result<Option<OwnFile>, Trouble> {
        Ok(written.read::<T>()?.file())
    }

    fn check_file(&self, content: &[u8]) -> Result<(), String> {
        T::check_file(content)
    }

    fn companion(&self, written: &Written) -> Result<Option<Companion>, Trouble> {
        Ok(written.read::<T>()?.companion())
    }

    fn of_listener(&self) -> &'static [&'static str] {
        T::OF_LISTENER
    }

    fn port(&self) -> Option<u16> {
        T::PORT
    }

    fn has_both_halves(&self, written: &Written) -> Result<bool, Trouble> {
        Ok(written.read::<T>()?.has_both_halves())
    }

    fn set(&self, service: &'static str, written: &Written) -> Result<Option<Set>, Trouble> {
        let options: T = written.read()?;
        Ok(options.set().map(|name| {
            let mut all = written.clone();
            all.take(T::OF_LISTENER);
            Set {
                service,
                name: name.to_owned(),
                options: all,
            }
        }))
    }
}

impl<T: Checked, S: ?Sized> Half<S> for Takes<T, S> {
    fn build(&self, written: &Written, setting: &Setting<'_>) -> Result<Box<S>, Trouble> {
        Ok((self.build)(&written.read()?, setting))
    }
}
