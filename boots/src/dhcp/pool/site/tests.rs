use std::collections::BTreeMap;

use dhcp::v4::{MessageType, Packet, code};
use model::Mac;
use tokio::sync::broadcast;

use super::*;
use crate::BootInterface;
use crate::dhcp::network::{Pool, Subnet};
use crate::dhcp::pool::{NoLease, Pools, Verdict};
use crate::machine::{MachineSource, SourceFuture};

const LIMIT: Duration = Duration::from_secs(20);

/// A server in memory. Each of its clients can be cut off.
#[derive(Debug)]
struct Store {
    leases: Mutex<(BTreeMap<Ipv4Addr, Stored>, u64)>,
    changes: broadcast::Sender<Change>,
    is_away: AtomicBool,
}

#[derive(Debug, Clone)]
struct Client(Arc<Store>);

impl Client {
    fn new() -> Self {
        Self(Arc::new(Store { leases: Mutex::default(), changes: broadcast::Sender::new(4096), is_away: AtomicBool::new(false) }))
    }

    fn there(&self) -> Result<(), SourceError> {
        if self.0.is_away.load(Ordering::SeqCst) { Err(SourceError::Other("no server answers".into())) } else { Ok(()) }
    }

    fn away(&self, is_away: bool) {
        self.0.is_away.store(is_away, Ordering::SeqCst);
    }

    fn remove(&self, address: Ipv4Addr) {
        let mut leases = self.0.leases.lock().unwrap();
        leases.1 += 1;
        let gone = leases.0.remove(&address).unwrap();
        let _ = self.0.changes.send(Change::Gone(Stored { version: leases.1, ..gone }));
    }

    fn all(&self) -> Vec<Lease> {
        self.0.leases.lock().unwrap().0.values().map(|stored| stored.lease.clone()).collect()
    }
}

impl SharedLeases for Client {
    fn list(&self) -> Answer<'_, (Vec<Stored>, u64)> {
        Box::pin(async {
            self.there()?;
            let leases = self.0.leases.lock().unwrap();
            Ok((leases.0.values().cloned().collect(), leases.1))
        })
    }

    fn get(&self, address: Ipv4Addr) -> Answer<'_, Option<Stored>> {
        Box::pin(async move {
            self.there()?;
            Ok(self.0.leases.lock().unwrap().0.get(&address).cloned())
        })
    }

    fn put<'a>(&'a self, lease: &'a Lease, seen: Option<u64>) -> Answer<'a, Put> {
        Box::pin(async move {
            tokio::task::yield_now().await; // so that two writers meet
            self.there()?;
            let mut leases = self.0.leases.lock().unwrap();
            if leases.0.get(&lease.address).map(|stored| stored.version) != seen {
                return Ok(Put::Conflict);
            }
            leases.1 += 1;
            let stored = Stored { lease: lease.clone(), version: leases.1 };
            let _ = self.0.changes.send(Change::Put(stored.clone()));
            leases.0.insert(lease.address, stored.clone());
            Ok(Put::Done(stored.version))
        })
    }

    fn watch(&self, _: u64) -> Answer<'_, Box<dyn Changes>> {
        Box::pin(async { Ok(Box::new(Following(self.0.changes.subscribe())) as Box<dyn Changes>) })
    }
}

struct Following(broadcast::Receiver<Change>);

impl Changes for Following {
    fn next(&mut self) -> Answer<'_, Option<Change>> {
        Box::pin(async { Ok(self.0.recv().await.ok()) })
    }
}

struct Nobody;

impl MachineSource for Nobody {
    fn machine(&self, _: Mac) -> SourceFuture<'_> {
        Box::pin(async { Ok(None) })
    }

    fn machine_at(&self, _: std::net::IpAddr) -> SourceFuture<'_> {
        Box::pin(async { Ok(None::<BootInterface>) })
    }
}

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, last)
}

fn mac(last: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 0, last])
}

fn pool(last: u8) -> Pool {
    Pool {
        subnet: Subnet::of(ip(0), 24),
        first: ip(10),
        last: ip(last),
        router: None,
        name_servers: Vec::new(),
        domain: None,
        lease_time: 3600,
    }
}

/// A boots of the site, which has read its leases.
async fn boots(client: &Client) -> Arc<Pools> {
    let pools = following(client);
    tokio::time::timeout(LIMIT, async {
        while !pools.site.get().unwrap().is_read() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    pools
}

fn following(client: &Client) -> Arc<Pools> {
    let pools = Arc::new(Pools::in_memory());
    pools.share(Arc::new(client.clone()));
    let following = Arc::clone(&pools);
    tokio::spawn(async move { following.listen(|_| true).await });
    pools
}

fn request(mac: Mac, address: Ipv4Addr) -> Packet {
    let mut packet = Packet::request(MessageType::Request, 1, mac.bytes());
    packet.options.set_ip(code::REQUESTED_IP, address);
    packet
}

async fn discover(pools: &Pools, pool: &Pool, mac: Mac) -> Result<Verdict, NoLease> {
    let packet = Packet::request(MessageType::Discover, 1, mac.bytes());
    pools.decide(pool, &packet, (mac, true), &Nobody, |_| false).await
}

async fn take(pools: &Pools, pool: &Pool, mac: Mac, address: Ipv4Addr) -> Result<Verdict, NoLease> {
    let mut packet = request(mac, address);
    packet.options.set_ip(code::SERVER_ID, ip(1));
    pools.decide(pool, &packet, (mac, true), &Nobody, |_| false).await
}

/// A client that begins again after a NAK, as all do.
async fn lease(pools: Arc<Pools>, pool: Pool, mac: Mac) -> Ipv4Addr {
    tokio::time::timeout(LIMIT, async {
        loop {
            let Ok(Verdict::Lease(offered)) = discover(&pools, &pool, mac).await else { panic!("no offer") };
            if let Verdict::Lease(address) = take(&pools, &pool, mac, offered).await.unwrap() {
                return address;
            }
        }
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_boots_never_give_one_address_to_two_machines() {
    let client = Client::new();
    let (one, two) = (boots(&client).await, boots(&client).await);
    let clients = (0..100).map(|last| {
        let pools = Arc::clone(if last % 2 == 0 { &one } else { &two });
        tokio::spawn(lease(pools, pool(130), mac(last)))
    });
    let given: Vec<Ipv4Addr> = join_all(clients).await.into_iter().map(Result::unwrap).collect();
    let different: std::collections::BTreeSet<Ipv4Addr> = given.iter().copied().collect();
    assert_eq!(different.len(), 100);
    let stored = client.all();
    for (last, address) in (0..).zip(given) {
        assert!(stored.iter().any(|lease| (lease.address, lease.mac) == (address, mac(last)) && lease.is_active(now())));
    }
}

#[tokio::test]
async fn a_machine_that_takes_what_another_boots_has_given_away_gets_a_nak() {
    let client = Client::new();
    let (one, two) = (boots(&client).await, boots(&client).await);
    let narrow = pool(10);
    let offers = (discover(&one, &narrow, mac(1)).await.unwrap(), discover(&two, &narrow, mac(2)).await.unwrap());
    assert_eq!(offers, (Verdict::Lease(ip(10)), Verdict::Lease(ip(10))), "both offer the only address");
    let (first, second) = tokio::join!(take(&one, &narrow, mac(1), ip(10)), take(&two, &narrow, mac(2), ip(10)));
    let naks = [first.unwrap(), second.unwrap()].into_iter().filter(|verdict| matches!(verdict, Verdict::Nak(_))).count();
    assert_eq!((naks, client.all().len()), (1, 1));
}

#[tokio::test]
async fn any_boots_of_the_site_renews_a_lease() {
    let client = Client::new();
    let (one, two) = (boots(&client).await, boots(&client).await);
    let address = lease(Arc::clone(&one), pool(130), mac(1)).await;
    tokio::time::timeout(LIMIT, async {
        while two.mac_at(address).is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let renewing = Packet { ciaddr: address, ..Packet::request(MessageType::Request, 1, mac(1).bytes()) };
    for pools in [&two, &one, &two] {
        let verdict = pools.decide(&pool(130), &renewing, (mac(1), true), &Nobody, |_| false).await;
        assert_eq!(verdict.unwrap(), Verdict::Lease(address));
    }
    let again = boots(&client).await;
    assert_eq!(again.mac_at(address), Some(mac(1)), "a boots that starts later knows it, too");
}

#[tokio::test]
async fn without_a_server_no_address_is_given_and_later_it_is() {
    let client = Client::new();
    client.away(true);
    let pools = following(&client);
    assert!(matches!(discover(&pools, &pool(130), mac(1)).await, Err(NoLease::NotRead)));
    client.away(false);
    let address = tokio::time::timeout(LIMIT, async {
        loop {
            if let Ok(Verdict::Lease(address)) = discover(&pools, &pool(130), mac(1)).await {
                return address;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .unwrap();
    client.away(true);
    assert!(matches!(take(&pools, &pool(130), mac(1), address).await, Err(NoLease::NotWritten)), "no ACK that nobody keeps");
    client.away(false);
    assert_eq!(take(&pools, &pool(130), mac(1), address).await.unwrap(), Verdict::Lease(address));
}

#[tokio::test]
async fn leases_from_before_the_site_are_brought_in_and_removed_ones_are_free() {
    let (client, pools) = (Client::new(), Arc::new(Pools::in_memory()));
    let old = Lease { address: ip(10), mac: mac(7), id: None, state: State::Bound, since: now(), until: now() + 600 };
    held(&pools.leases).insert(old.clone());
    pools.share(Arc::new(client.clone()));
    let following = Arc::clone(&pools);
    tokio::spawn(async move { following.listen(|_| true).await });
    let until = async |what: &str, done: &dyn Fn() -> bool| {
        let wait = async {
            while !done() {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(LIMIT, wait).await.is_ok(), "{what}");
    };
    until("it is in the store", &|| client.all() == [old.clone()]).await;
    until("it has been read", &|| pools.site.get().unwrap().is_read() && client.0.changes.receiver_count() > 0).await;
    assert!(matches!(discover(&pools, &pool(10), mac(8)).await, Err(NoLease::Exhausted(..))));
    client.remove(ip(10));
    until("it is free", &|| pools.mac_at(ip(10)).is_none()).await;
}
