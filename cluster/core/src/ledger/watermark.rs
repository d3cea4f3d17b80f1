//! One key's watermark, whatever its class: how it starts, how an operator raises it, how it is shown.

use super::{
    beefy::{self, BeefyWindow},
    grandpa::{self, GrandpaWindow},
    para::{self, ParaMark},
    slot::{self, SlotWindow},
    store::JournalWriter,
    window::{AlreadyHigher, Coordinate, Window},
};
use crate::model::{FloorError, Position};
use parity_scale_codec::{Decode, Encode};
use serde::{Deserialize, Serialize};
use signonce_protocol::{DutyClass, KeyId};

/// A key's watermark as people and servers see it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WatermarkView {
    /// The class it is about.
    pub class: DutyClass,
    /// The lowest coordinate that may still be signed.
    pub floor: Position,
    /// The highest coordinate signed above the floor.
    pub highest: Option<Position>,
    /// Exact entries kept.
    pub entries: u64,
}

/// The watermark of one key. A key type has at most one class of claimed work.
#[derive(Clone, Debug)]
pub(super) enum Watermark {
    Slot(SlotWindow),
    Grandpa(GrandpaWindow),
    Beefy(BeefyWindow),
    Para(ParaMark),
}

impl Watermark {
    /// An empty watermark with this floor.
    pub(super) fn start(floor: Position, writer: &mut JournalWriter<'_>) -> Self {
        match floor {
            Position::Slot { slot } => Self::Slot(Window::start(slot, writer)),
            Position::Grandpa { set_id, round } => Self::Grandpa(Window::start((set_id, round), writer)),
            Position::Beefy { set_id, block } => Self::Beefy(Window::start((set_id, block), writer)),
            Position::Para { session } => Self::Para(ParaMark::start(session, writer)),
        }
    }

    /// Raises the floor.
    ///
    /// # Errors
    /// `AlreadyHigher` if it would go down; `Foreign` if the position is of another class.
    pub(super) fn raise(
        &mut self,
        key: KeyId,
        asked: Position,
        writer: &mut JournalWriter<'_>,
    ) -> Result<(), FloorError> {
        let raised = match (&mut *self, asked) {
            (Self::Slot(window), Position::Slot { slot }) => window.raise(slot, writer),
            (Self::Grandpa(window), Position::Grandpa { set_id, round }) => {
                window.raise((set_id, round), writer)
            }
            (Self::Beefy(window), Position::Beefy { set_id, block }) => window.raise((set_id, block), writer),
            (Self::Para(mark), Position::Para { session }) => mark.raise(session, writer),
            (_, floor) => return Err(FloorError::Foreign { key, floor }),
        };
        raised.map_err(|AlreadyHigher| FloorError::AlreadyHigher { key, floor: self.view().floor, asked })
    }

    /// The watermark as it is shown. (The class is completed by the key's type: `babe` and `aura` share a window.)
    pub(super) fn view(&self) -> Shown {
        match self {
            Self::Slot(window) => Shown::of(window, slot::position),
            Self::Grandpa(window) => Shown::of(window, grandpa::position),
            Self::Beefy(window) => Shown::of(window, beefy::position),
            Self::Para(mark) => Shown {
                floor: para::position(mark.floor()),
                highest: mark.highest().map(para::position),
                entries: mark.entries(),
            },
        }
    }
}

/// A [`WatermarkView`] without its class.
pub(super) struct Shown {
    floor: Position,
    highest: Option<Position>,
    entries: u64,
}

impl Shown {
    fn of<C: Coordinate, E: Encode>(window: &Window<C, E>, position: fn(C::Step) -> Position) -> Self {
        Self {
            floor: position(window.floor()),
            highest: window.highest().map(position),
            entries: window.entries().len() as u64,
        }
    }

    pub(super) fn for_class(self, class: DutyClass) -> WatermarkView {
        let Self { floor, highest, entries } = self;
        WatermarkView { class, floor, highest, entries }
    }
}
