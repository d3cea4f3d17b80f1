//! Counts the offences that were proven on chain, by kind.
//!
//! The consensus pallets report to this pallet, which hands every report on to `pallet_offences` and counts those
//! that are new there. A node reads the counts through [`ProvenOffencesApi`].

pub use pallet::*;
use polkadot_sdk::*;
use sp_staking::offence::Kind;

sp_api::decl_runtime_apis! {
    /// The offences that were proven on this chain.
    pub trait ProvenOffencesApi {
        /// Their kinds, and how many there were of each.
        fn proven_offences() -> alloc::vec::Vec<(Kind, u64)>;
    }
}

#[frame_support::pallet]
pub mod pallet {
    use super::*;
    use alloc::vec::Vec;
    use frame_support::pallet_prelude::*;
    use sp_staking::offence::{Offence, OffenceError, ReportOffence};

    #[pallet::pallet]
    pub struct Pallet<T>(_);

    #[pallet::config]
    pub trait Config: polkadot_sdk::frame_system::Config + pallet_offences::Config {}

    /// How many offences of a kind were proven.
    #[pallet::storage]
    pub type Proven<T: Config> = StorageMap<_, Twox64Concat, Kind, u64, ValueQuery>;

    impl<T: Config> Pallet<T> {
        /// The kinds of which there was an offence, with their number.
        pub fn counts() -> Vec<(Kind, u64)> {
            Proven::<T>::iter().collect()
        }
    }

    impl<T, O> ReportOffence<T::AccountId, T::IdentificationTuple, O> for Pallet<T>
    where
        T: Config,
        O: Offence<T::IdentificationTuple>,
    {
        fn report_offence(reporters: Vec<T::AccountId>, offence: O) -> Result<(), OffenceError> {
            pallet_offences::Pallet::<T>::report_offence(reporters, offence)?;
            Proven::<T>::mutate(O::ID, |count| *count += 1);
            Ok(())
        }

        fn is_known_offence(offenders: &[T::IdentificationTuple], slot: &O::Slot) -> bool {
            <pallet_offences::Pallet<T> as ReportOffence<_, _, O>>::is_known_offence(offenders, slot)
        }
    }
}
