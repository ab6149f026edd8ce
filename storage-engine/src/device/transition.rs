//! The one table of zone state transitions (NVMe ZNS, section 2.1.1.2), shared by every backend that keeps states.
//!
//! Pure: it knows no zone, no limit and no write pointer. What depends on a write pointer comes in with the command.
//! A refusal changes nothing.

use super::{DeviceError, ZoneState};
use crate::units::ZoneId;

/// How far an append takes the write pointer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reach {
    /// Short of the capacity.
    Inside,
    /// To the capacity.
    Capacity,
}

/// Whether a zone holds anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Contents {
    /// The write pointer is at the start.
    Nothing,
    /// The write pointer has moved.
    Something,
}

/// What can be done to a zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ZoneCommand {
    /// Take a place for an append.
    Append(Reach),
    /// Open by command.
    Open,
    /// Close, by command or to make room.
    Close(Contents),
    /// Make full.
    Finish,
    /// Make empty.
    Reset,
    /// The media no longer take writes.
    TurnReadOnly,
    /// The media are gone.
    TurnOffline,
}

/// Why a command is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// An append to a full zone.
    Full,
    /// An append to a read-only zone.
    ReadOnly,
    /// An append to an offline zone.
    Offline,
    /// An append to a zone that has no write pointer.
    NoWritePointer,
    /// Any other command that the state does not allow.
    Impossible,
}

/// The state that `command` takes a zone in `state` to.
pub(crate) fn transition(state: ZoneState, command: ZoneCommand) -> Result<ZoneState, Refusal> {
    match command {
        ZoneCommand::Append(reach) => after_append(state, reach),
        ZoneCommand::Open => match state {
            ZoneState::Empty | ZoneState::Closed => Ok(ZoneState::ExplicitlyOpen),
            open if open.is_open() => Ok(ZoneState::ExplicitlyOpen),
            _ => Err(Refusal::Impossible),
        },
        ZoneCommand::Close(contents) if state.is_active() => Ok(match contents {
            Contents::Nothing => ZoneState::Empty,
            Contents::Something => ZoneState::Closed,
        }),
        ZoneCommand::Close(_) => Err(Refusal::Impossible),
        ZoneCommand::Finish if is_settled(state) => Err(Refusal::Impossible),
        ZoneCommand::Finish => Ok(ZoneState::Full),
        ZoneCommand::Reset if is_settled(state) => Err(Refusal::Impossible),
        ZoneCommand::Reset => Ok(ZoneState::Empty),
        ZoneCommand::TurnReadOnly if state == ZoneState::Offline => Err(Refusal::Impossible),
        ZoneCommand::TurnReadOnly | ZoneCommand::TurnOffline if state == ZoneState::NotWritePointer => {
            Err(Refusal::Impossible)
        }
        ZoneCommand::TurnReadOnly => Ok(ZoneState::ReadOnly),
        ZoneCommand::TurnOffline => Ok(ZoneState::Offline),
    }
}

fn after_append(state: ZoneState, reach: Reach) -> Result<ZoneState, Refusal> {
    match (state, reach) {
        (ZoneState::Full, _) => Err(Refusal::Full),
        (ZoneState::ReadOnly, _) => Err(Refusal::ReadOnly),
        (ZoneState::Offline, _) => Err(Refusal::Offline),
        (ZoneState::NotWritePointer, _) => Err(Refusal::NoWritePointer),
        (_, Reach::Capacity) => Ok(ZoneState::Full),
        (ZoneState::ExplicitlyOpen, Reach::Inside) => Ok(ZoneState::ExplicitlyOpen),
        (_, Reach::Inside) => Ok(ZoneState::ImplicitlyOpen),
    }
}

/// Whether no command takes the zone back to where it can be appended to.
const fn is_settled(state: ZoneState) -> bool {
    matches!(state, ZoneState::ReadOnly | ZoneState::Offline | ZoneState::NotWritePointer)
}

impl ZoneCommand {
    /// As in "it cannot be closed".
    const fn participle(self) -> &'static str {
        match self {
            Self::Append(_) => "appended to",
            Self::Open => "opened",
            Self::Close(_) => "closed",
            Self::Finish => "finished",
            Self::Reset => "reset",
            Self::TurnReadOnly => "made read-only",
            Self::TurnOffline => "taken offline",
        }
    }
}

impl Refusal {
    /// The refusal of `command` to `zone` in `state`, for the caller.
    pub(crate) const fn of(self, zone: ZoneId, state: ZoneState, command: ZoneCommand) -> DeviceError {
        match self {
            Self::Full => DeviceError::ZoneFull { zone },
            Self::ReadOnly => DeviceError::ZoneReadOnly { zone },
            Self::Offline => DeviceError::ZoneOffline { zone },
            Self::NoWritePointer => DeviceError::Unsupported {
                operation: "an append",
                device: "a conventional zone",
                remedy: "it has no write pointer; append to another zone",
            },
            Self::Impossible => DeviceError::BadTransition { zone, state, action: command.participle() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ZoneCommand::{Append, Close, Finish, Open, Reset, TurnOffline, TurnReadOnly};
    use super::ZoneState::{
        Closed, Empty, ExplicitlyOpen, Full, ImplicitlyOpen, NotWritePointer, Offline, ReadOnly,
    };
    use super::{Contents, Reach, Refusal, ZoneCommand, ZoneState, transition};

    const COMMANDS: [ZoneCommand; 9] = [
        Append(Reach::Inside),
        Append(Reach::Capacity),
        Open,
        Close(Contents::Nothing),
        Close(Contents::Something),
        Finish,
        Reset,
        TurnReadOnly,
        TurnOffline,
    ];

    type Row = (ZoneState, [Result<ZoneState, Refusal>; 9]);

    /// The whole table, written out a second time: one row a state, one column a command in the order above.
    fn expected() -> [Row; 8] {
        let no = Err(Refusal::Impossible);
        let worn = (Ok(ReadOnly), Ok(Offline));
        let open = |append| {
            let (closed, opened) = (Ok(Closed), Ok(ExplicitlyOpen));
            [Ok(append), Ok(Full), opened, Ok(Empty), closed, Ok(Full), Ok(Empty), worn.0, worn.1]
        };
        let mut empty = open(ImplicitlyOpen);
        (empty[3], empty[4]) = (no, no);
        let over = |refusal| [Err(refusal), Err(refusal), no, no, no, no, no, Ok(ReadOnly), Ok(Offline)];
        let mut full = over(Refusal::Full);
        (full[5], full[6]) = (Ok(Full), Ok(Empty));
        let mut offline = over(Refusal::Offline);
        offline[7] = no;
        let mut conventional = over(Refusal::NoWritePointer);
        (conventional[7], conventional[8]) = (no, no);
        [
            (Empty, empty),
            (ImplicitlyOpen, open(ImplicitlyOpen)),
            (ExplicitlyOpen, open(ExplicitlyOpen)),
            (Closed, open(ImplicitlyOpen)),
            (Full, full),
            (ReadOnly, over(Refusal::ReadOnly)),
            (Offline, offline),
            (NotWritePointer, conventional),
        ]
    }

    #[test]
    fn every_state_answers_every_command_as_the_table_says() {
        for (state, answers) in expected() {
            for (command, answer) in COMMANDS.into_iter().zip(answers) {
                assert_eq!(transition(state, command), answer, "{state:?}, {command:?}");
            }
        }
    }
}
