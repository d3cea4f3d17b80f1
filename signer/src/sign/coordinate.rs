//! The ledger's positions as clients know them.

use signonce_core::Position;
use signonce_protocol::rpc::Coordinate;

/// A position of the ledger as clients know it.
pub fn coordinate(position: Position) -> Coordinate {
    match position {
        Position::Slot { slot } => Coordinate::Slot { slot },
        Position::Grandpa { set_id, round } => Coordinate::Round { set_id, round },
        Position::Beefy { set_id, block } => Coordinate::Block { set_id, block },
        Position::Para { session } => Coordinate::Session { session },
    }
}
