//! Which of the configured validators are in: changes every second session.
//!
//! With four or more candidates one of them, each in its turn, sits out two sessions, so that at least two thirds of
//! a set stay in the next one. With fewer all stay, and the change is one of the set's number only; GRANDPA starts
//! again at round 1 in either case. In between comes a session change without a change of the set.

pub use pallet::*;
use polkadot_sdk::*;

/// From so many candidates on one of them sits out.
const ENOUGH_TO_ROTATE: usize = 4;

#[frame_support::pallet]
pub mod pallet {
    use super::*;
    use alloc::vec::Vec;
    use frame_support::pallet_prelude::*;
    use pallet_session::historical::SessionManager;
    use sp_staking::SessionIndex;

    #[pallet::pallet]
    #[pallet::without_storage_info]
    pub struct Pallet<T>(_);

    #[pallet::config]
    pub trait Config:
        polkadot_sdk::frame_system::Config
        + pallet_session::Config<ValidatorId = <Self as frame_system::Config>::AccountId>
    {
    }

    /// The validators that take turns.
    #[pallet::storage]
    pub type Candidates<T: Config> = StorageValue<_, Vec<T::AccountId>, ValueQuery>;

    #[pallet::genesis_config]
    #[derive(frame_support::DefaultNoBound)]
    pub struct GenesisConfig<T: Config> {
        pub candidates: Vec<T::AccountId>,
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            Candidates::<T>::put(&self.candidates);
        }
    }

    impl<T: Config> pallet_session::SessionManager<T::AccountId> for Pallet<T> {
        fn new_session(index: SessionIndex) -> Option<Vec<T::AccountId>> {
            super::planned(Candidates::<T>::get(), index)
        }

        fn new_session_genesis(_: SessionIndex) -> Option<Vec<T::AccountId>> {
            Some(Candidates::<T>::get())
        }

        fn start_session(_: SessionIndex) {}

        fn end_session(_: SessionIndex) {}
    }

    impl<T: Config> SessionManager<T::AccountId, ()> for Pallet<T> {
        fn new_session(index: SessionIndex) -> Option<Vec<(T::AccountId, ())>> {
            <Self as pallet_session::SessionManager<_>>::new_session(index).map(identified)
        }

        fn new_session_genesis(index: SessionIndex) -> Option<Vec<(T::AccountId, ())>> {
            <Self as pallet_session::SessionManager<_>>::new_session_genesis(index).map(identified)
        }

        fn start_session(_: SessionIndex) {}

        fn end_session(_: SessionIndex) {}
    }

    fn identified<A>(accounts: Vec<A>) -> Vec<(A, ())> {
        accounts.into_iter().map(|account| (account, ())).collect()
    }
}

/// The validators of session `index`, or `None` if those of the session before stay.
fn planned<A>(
    mut candidates: alloc::vec::Vec<A>,
    index: sp_staking::SessionIndex,
) -> Option<alloc::vec::Vec<A>> {
    if index % 2 == 1 {
        return None;
    }
    if candidates.len() >= ENOUGH_TO_ROTATE {
        let out = index as usize / 2 % candidates.len();
        candidates.remove(out);
    }
    Some(candidates)
}

#[cfg(test)]
mod tests {
    use super::planned;

    #[test]
    fn every_second_session_another_of_four_sits_out() {
        let sets: Vec<_> = (2..12).map(|index| planned(vec![0, 1, 2, 3], index)).collect();
        assert_eq!(sets[0], Some(vec![0, 2, 3]));
        assert_eq!(sets[1], None);
        assert_eq!(sets[2], Some(vec![0, 1, 3]));
        assert_eq!(sets[4], Some(vec![0, 1, 2]));
        assert_eq!(sets[6], Some(vec![1, 2, 3]));
        assert_eq!(sets[8], sets[0]);
    }

    #[test]
    fn three_all_stay_but_are_announced_as_a_new_set() {
        assert_eq!(planned(vec![0, 1, 2], 2), Some(vec![0, 1, 2]));
        assert_eq!(planned(vec![0], 4), Some(vec![0]));
        assert_eq!(planned(vec![0], 5), None);
    }
}
