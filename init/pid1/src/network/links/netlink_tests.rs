//! Each message, decoded by an independent implementation.

use super::*;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::{
    BondLacpRate, BondMode, InfoBond, InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteProtocol, RouteScope};

/// The message as the library decodes it.
fn decoded(message: Message) -> RouteNetlinkMessage {
    let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&message.finish(7)).unwrap();
    assert_eq!(message.header.sequence_number, 7);
    match message.payload {
        NetlinkPayload::InnerMessage(inner) => inner,
        other => panic!("{other:?}"),
    }
}

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 2, 15));
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

#[test]
fn a_link_is_set_up_and_nothing_else_of_it_changes() {
    let RouteNetlinkMessage::NewLink(link) = decoded(link_up(3)) else { panic!() };
    assert_eq!((link.header.index, link.header.flags, link.header.change_mask), (3, LinkFlags::Up, LinkFlags::Up));
    assert_eq!(link.attributes, []);
}

#[test]
fn a_vlan_names_its_parent_and_its_id() {
    let RouteNetlinkMessage::NewLink(link) = decoded(vlan("eth0.100", 3, 100)) else { panic!() };
    assert!(link.attributes.contains(&LinkAttribute::IfName("eth0.100".to_owned())));
    assert!(link.attributes.contains(&LinkAttribute::Link(3)));
    let info = vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(100)]))];
    assert!(link.attributes.contains(&LinkAttribute::LinkInfo(info)), "{link:?}");
}

#[test]
fn a_bond_gets_its_options_in_their_sizes() {
    let RouteNetlinkMessage::NewLink(link) = decoded(bond("bond0", &[(1, 1, 4), (3, 4, 100), (21, 1, 1)])) else { panic!() };
    assert!(link.attributes.contains(&LinkAttribute::IfName("bond0".to_owned())));
    let data = vec![InfoBond::Mode(BondMode::Ieee8023Ad), InfoBond::MiiMon(100), InfoBond::AdLacpRate(BondLacpRate::Fast)];
    let info = vec![LinkInfo::Kind(InfoKind::Bond), LinkInfo::Data(InfoData::Bond(data))];
    assert!(link.attributes.contains(&LinkAttribute::LinkInfo(info)), "{link:?}");
}

#[test]
fn a_link_is_taken_down_before_it_becomes_a_member() {
    let RouteNetlinkMessage::NewLink(link) = decoded(link_down(3)) else { panic!() };
    assert_eq!((link.header.flags, link.header.change_mask), (LinkFlags::empty(), LinkFlags::Up));
}

#[test]
fn an_address_carries_its_broadcast_and_its_lifetime() {
    let RouteNetlinkMessage::NewAddress(address) = decoded(new_address(3, ADDRESS, 24, Some(600))) else { panic!() };
    assert_eq!((address.header.index, address.header.prefix_len), (3, 24));
    assert!(address.attributes.contains(&AddressAttribute::Local(ADDRESS)));
    assert!(address.attributes.contains(&AddressAttribute::Broadcast(Ipv4Addr::new(10, 0, 2, 255))));
    let lifetime = address.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::CacheInfo(info) => Some((info.ifa_valid, info.ifa_preferred)),
        _ => None,
    });
    assert_eq!(lifetime, Some((600, 600)));
    let RouteNetlinkMessage::NewAddress(single) = decoded(new_address(3, ADDRESS, 32, None)) else { panic!() };
    assert!(!single.attributes.iter().any(|attribute| matches!(attribute, AddressAttribute::Broadcast(_))));
}

#[test]
fn routes_go_through_a_gateway_or_stay_on_the_link() {
    let default = Route { destination: Ipv4Addr::UNSPECIFIED.into(), prefix: 0, gateway: Some(GATEWAY.into()) };
    let RouteNetlinkMessage::NewRoute(route) = decoded(new_route(3, default, false, 100)) else { panic!() };
    assert_eq!((route.header.scope, route.header.protocol), (RouteScope::Universe, RouteProtocol::Dhcp));
    assert_eq!(
        route.attributes,
        [RouteAttribute::Gateway(RouteAddress::Inet(GATEWAY)), RouteAttribute::Oif(3), RouteAttribute::Priority(100)]
    );

    let link = Route { destination: Ipv4Addr::new(192, 168, 0, 0).into(), prefix: 16, gateway: None };
    let RouteNetlinkMessage::NewRoute(route) = decoded(new_route(3, link, true, 100)) else { panic!() };
    assert_eq!((route.header.scope, route.header.destination_prefix_length), (RouteScope::Link, 16));
    assert_eq!(route.attributes.len(), 3);
}

#[test]
fn only_the_answer_to_the_request_counts() {
    let answer = |kind: u16, sequence: u32, code: i32| {
        let mut bytes = Message::new(kind, 0, &code.to_ne_bytes()).finish(sequence);
        bytes.extend([0; 16]);
        bytes
    };
    assert_eq!(acknowledged(&answer(ERROR, 7, 0), 7), Some(0));
    assert_eq!(acknowledged(&answer(ERROR, 7, -17), 7), Some(-17));
    assert_eq!(acknowledged(&answer(ERROR, 6, 0), 7), None);
    assert_eq!(acknowledged(&answer(16, 7, 0), 7), None);
    assert_eq!(acknowledged(&[0; 11], 7), None);
}
