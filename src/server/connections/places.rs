//! Limits on the number of connections, in total and of one client, so that one client cannot take all of them. A
//! place is the right to one connection.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The bits of an IPv6 address that identify a network. Whoever has one address of a network usually has all of them.
const NETWORK: u128 = !0 << 64;

/// Places for connections.
pub struct Places {
    in_all: usize,
    per_client: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    in_all: usize,
    /// The number of connections of each client that has any.
    of_clients: HashMap<IpAddr, usize>,
}

/// Why a client gets no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// All places are taken.
    Full,
    /// This client has reached its limit.
    ShareTaken,
}

/// The place of a connection, until it is dropped.
pub struct Place {
    places: Arc<Places>,
    client: IpAddr,
}

impl Places {
    /// `total` places, `per_client` of them for one client.
    #[must_use]
    pub fn new(in_all: usize, per_client: usize) -> Arc<Self> {
        Arc::new(Self {
            in_all,
            per_client,
            taken: Mutex::default(),
        })
    }

    /// A place for a client.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, NoPlace> {
        let client = client(address);
        let mut taken = self.taken();
        if taken.in_all >= self.in_all {
            return Err(NoPlace::Full);
        }
        let of_client = taken.of_clients.entry(client).or_default();
        if *of_client >= self.per_client {
            return Err(NoPlace::ShareTaken);
        }
        *of_client += 1;
        taken.in_all += 1;
        Ok(Place {
            places: Arc::clone(self),
            client,
        })
    }

    /// How many places are taken.
    #[must_use]
    pub fn number_taken(&self) -> usize {
        self.taken().in_all
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.in_all -= 1;
        if let Some(of_client) = taken.of_clients.get_mut(&self.client) {
            *of_client -= 1;
            if *of_client == 0 {
                taken.of_clients.remove(&self.client);
            }
        }
    }
}

/// The client that an address belongs to: the address itself, or its network.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & NETWORK).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn one_client_gets_its_share_and_leaves_the_rest_to_others() {
        let places = Places::new(3, 2);
        let one = address("192.0.2.1");
        let held = [places.take(one), places.take(address("::ffff:192.0.2.1"))];
        assert_eq!(places.take(one).err(), Some(NoPlace::ShareTaken));
        let other = places.take(address("192.0.2.2"));
        assert!(other.is_ok());
        assert_eq!(places.take(address("192.0.2.3")).err(), Some(NoPlace::Full));
        drop(held);
        assert_eq!(places.number_taken(), 1);
        assert!(places.take(one).is_ok());
    }

    #[test]
    fn the_addresses_of_a_network_are_one_client() {
        let places = Places::new(3, 1);
        let held = places.take(address("2001:db8::1"));
        assert!(held.is_ok());
        assert_eq!(places.take(address("2001:db8::2")).err(), Some(NoPlace::ShareTaken));
        assert!(places.take(address("2001:db8:0:1::1")).is_ok());
    }
}
