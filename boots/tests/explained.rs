//! The likely cause when the next step of a boot does not come, from what boots saw on real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::{Ipv4Addr, SocketAddr};

use api::{BootState, Diagnosis, StepKind, Verdict};
use dhcp::v4::{MessageType, Packet, code};
use jiff::{SignedDuration, Timestamp};
use steps::{Situation, diagnose};
use support::{Host, KNOWN, LIMIT, pattern};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// Where the boot stands after ten minutes in which nothing came.
fn explained(host: &Host) -> Diagnosis {
    let later = Timestamp::now() + SignedDuration::from_mins(10);
    diagnose(&host.steps.of(KNOWN), &Situation { boots: Some(&BootState::Install { workflow: None }), similar: &[] }, later)
}

fn assert_stuck(host: &Host, cause: &str, check: &str) {
    let found = explained(host);
    let steps = host.steps.of(KNOWN);
    assert!(found.verdict == Verdict::Stuck && found.cause.contains(cause), "{cause:?}: {found:?}\n{steps:#?}");
    assert!(found.checks.iter().any(|one| one.contains(check)), "{check:?}: {found:?}");
}

fn firmware(kind: MessageType) -> Packet {
    let mut packet = Packet::request(kind, 1, KNOWN.bytes());
    packet.options.set(code::VENDOR_CLASS, *b"PXEClient:Arch:00007:UNDI:003016");
    packet.options.set(code::CLIENT_ARCH, [0, 7]);
    packet
}

async fn exchange(host: &Host, packet: &Packet) -> Packet {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.send_to(&packet.encode(), host.dhcp).await.unwrap();
    let mut buffer = [0; 1500];
    let length = tokio::time::timeout(LIMIT, socket.recv(&mut buffer)).await.expect("no answer in time").unwrap();
    Packet::decode(&buffer[..length]).unwrap()
}

fn request(offer: &Packet, server: Ipv4Addr) -> Packet {
    let mut packet = firmware(MessageType::Request);
    packet.options.set_ip(code::REQUESTED_IP, offer.yiaddr).set_ip(code::SERVER_ID, server);
    packet
}

/// The machine has its address and the name of its program.
async fn with_address() -> Host {
    let host = Host::start().await;
    host.nbp("ipxe.efi", &pattern(5000));
    host.file("kernel", b"k");
    host.file("initramfs.cpio.zst", b"r");
    let offer = exchange(&host, &firmware(MessageType::Discover)).await;
    let ack = exchange(&host, &request(&offer, offer.server_id().unwrap())).await;
    assert_eq!(ack.message_type(), Some(MessageType::Ack));
    host
}

/// Reads the file by TFTP. A client that stops early sends no acknowledgement at all.
async fn read(server: SocketAddr, path: &str, stops: bool) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.send_to(&[b"\0\x01", path.as_bytes(), b"\0octet\0"].concat(), server).await.unwrap();
    let mut buffer = [0; 600];
    loop {
        let (length, from) = tokio::time::timeout(LIMIT, socket.recv_from(&mut buffer)).await.unwrap().unwrap();
        let [0, 3, high, low, data @ ..] = &buffer[..length] else { panic!("{:?}", &buffer[..length]) };
        if stops {
            std::mem::forget(socket); // a closed port would be an answer
            return;
        }
        socket.send_to(&[0, 4, *high, *low], from).await.unwrap();
        if data.len() < 512 {
            return;
        }
    }
}

async fn get(host: &Host, path: &str) {
    let mut stream = TcpStream::connect(host.http).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: boots\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{path}: {}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn an_offer_that_is_not_taken_names_the_server_that_was() {
    let host = Host::start().await;
    let offer = exchange(&host, &firmware(MessageType::Discover)).await;
    host.steps.until(KNOWN, StepKind::Offered).await;
    assert_stuck(&host, "boots' offer was not taken", "is there another DHCP server?");
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.send_to(&request(&offer, Ipv4Addr::new(10, 0, 0, 9)).encode(), host.dhcp).await.unwrap();
    host.steps.until(KNOWN, StepKind::ChoseOther).await;
    assert_stuck(&host, "it took the offer of DHCP server 10.0.0.9 in place of boots'", "find DHCP server 10.0.0.9");
    host.stop().await;
}

#[tokio::test]
async fn an_address_without_a_finished_transfer_is_a_matter_of_the_way_there() {
    let host = with_address().await;
    host.steps.until(KNOWN, StepKind::Acknowledged).await;
    assert_stuck(&host, "the boot file ipxe.efi, and did not ask for it by TFTP", "UDP port 69");
    read(host.tftp, &format!("{KNOWN}/ipxe.efi"), true).await;
    host.steps.until(KNOWN, StepKind::NbpStalled).await;
    assert_stuck(&host, "it asked for ipxe.efi by TFTP, and the data did not reach it", "MTU");
    host.stop().await;
}

#[tokio::test]
async fn a_program_a_script_and_a_kernel_that_nothing_follows_are_told_apart() {
    let host = with_address().await;
    read(host.tftp, &format!("{KNOWN}/ipxe.efi"), false).await;
    host.steps.until(KNOWN, StepKind::Nbp).await;
    assert_stuck(&host, "ipxe.efi was sent, and did not ask for its script", "Secure Boot");
    get(&host, &format!("/ipxe/script/{KNOWN}/auto.ipxe")).await;
    host.steps.until(KNOWN, StepKind::Script).await;
    assert_stuck(&host, "it got its script, and did not ask for the kernel", "iPXE prints an error");
    get(&host, "/files/kernel").await;
    host.steps.until(KNOWN, StepKind::Kernel).await;
    assert_stuck(&host, "it took the kernel and did not ask for the ramdisk", "memory");
    get(&host, "/files/initramfs.cpio.zst").await;
    host.steps.until(KNOWN, StepKind::Ramdisk).await;
    assert_stuck(&host, "it took kernel and ramdisk, and no agent has called", "grpc-authority");
    host.stop().await;
}

/// U-Boot and GRUB read their configuration, kernel and ramdisk by TFTP.
#[tokio::test]
async fn the_same_is_told_apart_of_a_loader_that_reads_by_tftp() {
    let host = with_address().await;
    read(host.tftp, "pxelinux.cfg/01-02-00-00-00-00-01", false).await;
    host.steps.until(KNOWN, StepKind::Nbp).await;
    assert_stuck(&host, "it got its script, and did not ask for the kernel", "firewall");
    read(host.tftp, "files/kernel", false).await;
    let kernel = host.steps.until(KNOWN, StepKind::Kernel).await;
    assert_eq!(kernel.to_string(), "TFTP: read of kernel -> 1 bytes");
    assert_stuck(&host, "it took the kernel and did not ask for the ramdisk", "memory");
    read(host.tftp, "files/initramfs.cpio.zst", false).await;
    host.steps.until(KNOWN, StepKind::Ramdisk).await;
    assert_stuck(&host, "it took kernel and ramdisk, and no agent has called", "console");
    host.stop().await;
}
