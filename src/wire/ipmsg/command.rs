use std::fmt;

/// What a packet is for: 8 bits of mode, 24 bits of options.
///
/// Modes and options that are not named here are let be: real programs send both.
///
/// ```
/// use onepoll::wire::IpmsgCommand;
///
/// let command = IpmsgCommand(288);
/// assert_eq!(command.mode(), IpmsgCommand::MESSAGE);
/// assert!(command.has(IpmsgCommand::ACKNOWLEDGE) && !command.has(IpmsgCommand::UTF8));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct IpmsgCommand(pub u32);

impl IpmsgCommand {
    /// Mode: somebody is there, and tells everybody.
    pub const ENTRY: u8 = 0x01;
    /// Mode: somebody goes.
    pub const EXIT: u8 = 0x02;
    /// Mode: the answer to an entry.
    pub const ANSWER_TO_ENTRY: u8 = 0x03;
    /// Mode: somebody has another name, or is absent.
    pub const ABSENCE: u8 = 0x04;
    /// Mode: a message.
    pub const MESSAGE: u8 = 0x20;
    /// Mode: a message has come.
    pub const RECEIVED: u8 = 0x21;
    /// Mode: a message was read.
    pub const READ: u8 = 0x30;
    /// Mode: the answer to that.
    pub const ANSWER_TO_READ: u8 = 0x32;
    /// Mode, over TCP: a file is asked for.
    pub const GET_FILE: u8 = 0x60;
    /// Mode: files that were offered are not wanted, or not any more.
    pub const RELEASE_FILES: u8 = 0x61;
    /// Mode, over TCP: a directory is asked for.
    pub const GET_DIRECTORY: u8 = 0x62;

    /// Option of a message: it is to be acknowledged.
    pub const ACKNOWLEDGE: u32 = 0x100;
    /// Option of a message: it is sealed, and its sender is told when it is opened.
    pub const SECRET: u32 = 0x200;
    /// Option of a message: it goes to everybody.
    pub const BROADCAST: u32 = 0x400;
    /// Option of a message: it goes to several.
    pub const MULTICAST: u32 = 0x800;
    /// Option of a message: a program wrote it, and none may answer.
    pub const AUTOMATIC: u32 = 0x2000;
    /// Option of a message: its sender is not to be added to the list of people.
    pub const NOT_LISTED: u32 = 0x8_0000;
    /// Option: when a message is read, that is to be told, and the telling acknowledged.
    pub const READ_RECEIPT: u32 = 0x10_0000;
    /// Option of a message: files are offered with it.
    pub const FILES: u32 = 0x20_0000;
    /// Option of a message: it is encrypted.
    pub const ENCRYPTED: u32 = 0x40_0000;
    /// Option: the text is UTF-8.
    pub const UTF8: u32 = 0x80_0000;
    /// Option of an entry: the sender can read UTF-8.
    pub const CAN_UTF8: u32 = 0x100_0000;

    /// A command of this mode with these options.
    pub const fn new(mode: u8, options: u32) -> IpmsgCommand {
        IpmsgCommand(options & !0xff | mode as u32)
    }

    /// What it is.
    pub const fn mode(self) -> u8 {
        self.0.to_le_bytes()[0]
    }

    /// Whether it has all of these options.
    pub const fn has(self, options: u32) -> bool {
        self.0 & options == options
    }

    /// Whether an acknowledgement is asked for and may be given: what goes to everybody, and what a program
    /// answered, is never answered, or two programs would go on for ever.
    pub const fn wants_acknowledgement(self) -> bool {
        self.has(Self::ACKNOWLEDGE) && !self.is_unanswerable()
    }

    /// Whether nothing of it may be answered.
    pub const fn is_unanswerable(self) -> bool {
        self.0 & (Self::BROADCAST | Self::AUTOMATIC) != 0
    }
}

impl fmt::Debug for IpmsgCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
