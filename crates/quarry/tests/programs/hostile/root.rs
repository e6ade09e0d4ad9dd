//! What can be done with the capabilities that every container's root user has: nothing beyond its own task.

use super::*;
use std::os::unix::process::CommandExt;

unsafe extern "C" {
    fn setgroups(count: usize, groups: *const u32) -> c_int;
    fn setresuid(real: u32, effective: u32, saved: u32) -> c_int;
    fn chmod(path: *const c_char, mode: u32) -> c_int;
    fn setxattr(path: *const c_char, name: *const c_char, value: *const c_void, size: usize, flags: c_int) -> c_int;
    fn sendto(fd: c_int, data: *const c_void, size: usize, flags: c_int, to: *const SockAddrIn, length: u32) -> isize;
    fn geteuid() -> u32;
}

/// Docker's default set, as a mask.
const USUAL: u64 = 0xa804_25fb;
/// A user of the image's own, where a range of users is mapped.
const OWN_USER: u32 = 1000;

/// Prints what a program has that was started as another user; ends the process.
pub fn rights() -> ! {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find(|line| line.starts_with("CapEff")).unwrap();
    println!("{} {}", unsafe { geteuid() }, effective.split(':').nth(1).unwrap().trim());
    std::process::exit(0)
}

/// Users, owners and modes of what is not the container's.
pub fn owners() {
    unsafe {
        for id in [65_536, 70_000, 100_000, 524_288, 1 << 24, u32::MAX - 1] {
            attempt(format_args!("become user {id}"), &[EINVAL, EPERM], checked(setresuid(id, id, id)));
            attempt(format_args!("join group {id}"), &[EINVAL, EPERM], checked(setgroups(1, &id)));
            let own = c("/tmp");
            attempt(format_args!("give /tmp to {id}"), &[EINVAL, EPERM], checked(chown(own.as_ptr(), id, id)));
        }
        for path in ["/dev/null", "/dev/tty", "/proc/sys", "/proc/1", "/proc/self/ns/user", "/sys/class", "/proc/kcore"]
        {
            let at = c(path);
            let refused = &[EPERM, EROFS, EACCES, EINVAL, ENOENT];
            attempt(format_args!("own {path}"), refused, checked(chown(at.as_ptr(), 0, 0)));
            attempt(format_args!("open {path} to all"), refused, checked(chmod(at.as_ptr(), 0o777)));
            let (name, value) = (c("trusted.x"), [1u8; 4]);
            let set = setxattr(at.as_ptr(), name.as_ptr(), value.as_ptr().cast(), 4, 0);
            attempt(format_args!("mark {path}"), &[EPERM, EROFS, EACCES, ENOENT, 95], checked(set));
        }
    }
}

/// Capabilities beyond the usual ones, and what other users of the container can be given.
pub fn capabilities() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let more = status
        .lines()
        .filter(|line| ["CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"].iter().any(|c| line.starts_with(c)));
    let more = more.filter(|line| {
        let held = u64::from_str_radix(line.split(':').nth(1).unwrap().trim(), 16).unwrap();
        held & !USUAL != 0
    });
    seen("capabilities beyond the usual ones", more.map(str::to_owned).collect());
    // Version 3, this process; effective, permitted, inheritable, twice 32 bits.
    let header = [0x2008_0522u32, 0];
    for (name, sets) in [
        ("every capability", [u32::MAX; 6]),
        ("every inheritable capability", [0, 0, u32::MAX, 0, 0, u32::MAX]),
        ("the system's administration", [USUAL as u32 | 1 << 21, USUAL as u32 | 1 << 21, 0, 0, 0, 0]),
    ] {
        #[cfg(target_arch = "x86_64")]
        attempt(format_args!("take {name}"), &[EPERM], checked(unsafe { syscall(126, &header, &sets) }));
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (name, sets, header);
    }
    // Programs that would give rights to other users: by their mode, and by capabilities of the file.
    let _ = fs::create_dir_all("/tmp");
    let own = std::env::current_exe().unwrap();
    for (name, capable) in [("setuid", false), ("capable", true)] {
        let path = format!("/tmp/{name}");
        fs::copy(&own, &path).unwrap();
        let at = c(&path);
        unsafe { chmod(at.as_ptr(), if capable { 0o755 } else { 0o6755 }) };
        if capable {
            // VFS_CAP_REVISION_2 with the effective flag; permitted and inheritable, twice 32 bits.
            let value = [0x0200_0001u32, USUAL as u32, USUAL as u32, 0, 0];
            let attribute = c("security.capability");
            unsafe { setxattr(at.as_ptr(), attribute.as_ptr(), value.as_ptr().cast(), 20, 0) };
        }
        let ran = Command::new(&path).arg("rights").uid(OWN_USER).gid(OWN_USER).output();
        match ran {
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                let held = said == format!("{OWN_USER} 0000000000000000");
                println!("{} rights by a {name} program: {said}", if held { "held" } else { "WORKED" });
            }
            // Only one user is mapped.
            Err(error) => attempt(format_args!("rights by a {name} program"), &[EINVAL, EPERM], Err::<i32, _>(error)),
        }
    }
}

/// Raw sockets: packets under the other's address, and packets that are not this task's.
pub fn raw() {
    let SocketAddr::V4(source) = format!("{}:0", env("VICTIM_SOURCE")).parse().unwrap() else { panic!() };
    let listening = unsafe { checked(socket(2, 3 | 0o4000, 6)) };
    for (name, from) in [
        ("the other", source.ip().octets()),
        ("the hub", [198, 19, 0, 1]),
        ("a load balancer", [198, 19, 1, 1]),
        ("loopback", [127, 0, 0, 1]),
        ("somebody outside", [192, 0, 2, 1]),
    ] {
        for (what, to, port) in [
            ("the metadata", [169, 254, 170, 2], 80u16),
            ("the endpoint", [198, 19, 0, 1], 4566),
            ("the names", [198, 19, 0, 1], 53),
        ] {
            // IPPROTO_RAW: the header is ours. A SYN; the kernel fills in length and checksum of the IP header.
            let mut packet = vec![0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0];
            packet.extend(from);
            packet.extend(to);
            packet.extend(40_000u16.to_be_bytes());
            packet.extend(port.to_be_bytes());
            packet.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0x20, 0]);
            let mut pseudo = from.to_vec();
            pseudo.extend(to);
            pseudo.extend([0, 6, 0, 20]);
            pseudo.extend(&packet[20..]);
            pseudo.extend([0, 0, 0, 0]);
            let mut sum: u32 = pseudo.chunks_exact(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]]))).sum();
            sum = (sum & 0xffff) + (sum >> 16);
            sum = (sum & 0xffff) + (sum >> 16);
            packet.extend((!(sum as u16)).to_be_bytes());
            packet.extend([0, 0]);
            let address = SockAddrIn { family: 2, port: 0, address: to, zero: [0; 8] };
            let sent = unsafe { checked(socket(2, 3, 255)) }.and_then(|fd| {
                let fd = unsafe { OwnedFd::from_raw_fd(fd as c_int) };
                let sent = unsafe { sendto(fd.as_raw_fd(), packet.as_ptr().cast(), packet.len(), 0, &address, 16) };
                checked(sent as i64)
            });
            // That it goes nowhere, the hub's own counter says (see `network/hostile.rs`).
            match sent {
                Ok(_) => println!("sent as {name} to {what}"),
                Err(error) => println!("held a packet as {name} to {what}: {error}"),
            }
        }
    }
    std::thread::sleep(Duration::from_millis(300));
    match listening {
        Ok(fd) => {
            let mut stream = fs::File::from(unsafe { OwnedFd::from_raw_fd(fd as c_int) });
            let own: Vec<String> = fs::read_to_string("/proc/net/fib_trie")
                .unwrap_or_default()
                .lines()
                .filter_map(|line| Some(line.trim().strip_prefix("|-- ")?.to_owned()))
                .collect();
            let (mut buffer, mut foreign, mut answered) = ([0u8; 2048], Vec::new(), 0);
            while let Ok(read @ 40..) = stream.read(&mut buffer) {
                let ip = |at: usize| format!("{}.{}.{}.{}", buffer[at], buffer[at + 1], buffer[at + 2], buffer[at + 3]);
                if !own.contains(&ip(16)) {
                    foreign.push(format!("{read} bytes from {} to {}", ip(12), ip(16)));
                }
                // SYN and ACK for the port that only forged packets come from.
                answered += usize::from(buffer[22..24] == 40_000u16.to_be_bytes() && buffer[33] & 0x12 == 0x12);
            }
            seen("packets of others", foreign);
            seen("answers to forged packets", (answered > 0).then(|| answered.to_string()).into_iter().collect());
        }
        Err(error) => println!("held a raw socket: {error}"),
    }
}
