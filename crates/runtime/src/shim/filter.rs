//! A seccomp filter as a tree of decisions over the call's number. The kernel runs a new filter once for every number
//! there is and translates it: as a list of some hundred comparisons that takes 0.7 ms, as a tree a tenth of it.

use std::collections::BTreeMap;
use std::io;

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    /// It fails with this error number.
    Refuse(i32),
    /// The lower half of an argument decides: masked, it must be one of these, or with `but` none of them.
    Only {
        argument: u8,
        mask: u32,
        values: Vec<u32>,
        but: bool,
        otherwise: i32,
    },
}

/// A program for the kernel.
pub type Program = Vec<libc::sock_filter>;

/// As in `linux/audit.h`.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: Option<u32> = Some(0xc000_003e);
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: Option<u32> = Some(0xc000_00b7);
#[cfg(target_arch = "riscv64")]
const ARCHITECTURE: Option<u32> = Some(0xc000_00f3);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
const ARCHITECTURE: Option<u32> = None;

/// Where `struct seccomp_data` has what.
const NUMBER: u32 = 0;
const ARCHITECTURE_OF_CALL: u32 = 4;
const ARGUMENTS: u32 = 16;

/// The most that a conditional jump leaps over.
const FARTHEST: usize = u8::MAX as usize;

/// Compiles verdicts by number; all other calls get `otherwise`, and those of another architecture end the process.
pub fn compile(verdicts: &BTreeMap<i64, Verdict>, otherwise: &Verdict) -> io::Result<Program> {
    let architecture = ARCHITECTURE.ok_or_else(|| io::Error::other("seccomp: this architecture is not known"))?;
    // Stretches of numbers with the same verdict, each by its first.
    let mut stretches: Vec<(u32, &Verdict)> = vec![(0, otherwise)];
    let mut next = 0;
    for (number, verdict) in verdicts {
        let number = u32::try_from(*number).map_err(io::Error::other)?;
        if next < number {
            add(&mut stretches, next, otherwise);
        }
        add(&mut stretches, number, verdict);
        next = number + 1;
    }
    add(&mut stretches, next, otherwise);
    let mut program = vec![
        load(ARCHITECTURE_OF_CALL),
        jump(libc::BPF_JEQ, architecture, 1, 0),
        give(libc::SECCOMP_RET_KILL_PROCESS),
        load(NUMBER),
    ];
    program.extend(tree(&stretches));
    Ok(program)
}

fn add<'a>(stretches: &mut Vec<(u32, &'a Verdict)>, from: u32, verdict: &'a Verdict) {
    match stretches.last_mut() {
        Some((_, last)) if *last == verdict => {}
        Some((start, last)) if *start == from => *last = verdict,
        _ => stretches.push((from, verdict)),
    }
}

fn tree(stretches: &[(u32, &Verdict)]) -> Program {
    let [(_, verdict)] = stretches else {
        let (lower, upper) = stretches.split_at(stretches.len() / 2);
        let (first, lower, upper) = (upper[0].0, tree(lower), tree(upper));
        let mut program = if lower.len() <= FARTHEST {
            vec![jump(libc::BPF_JGE, first, lower.len(), 0)]
        } else {
            vec![jump(libc::BPF_JGE, first, 0, 1), statement(libc::BPF_JMP | libc::BPF_JA, lower.len() as u32)]
        };
        program.extend(lower);
        program.extend(upper);
        return program;
    };
    leaf(verdict)
}

fn leaf(verdict: &Verdict) -> Program {
    match verdict {
        Verdict::Allow => vec![give(libc::SECCOMP_RET_ALLOW)],
        Verdict::Refuse(error) => vec![refuse(*error)],
        Verdict::Only { argument, mask, values, but, otherwise } => {
            let half = if cfg!(target_endian = "little") { 0 } else { 4 };
            let mut program = vec![load(ARGUMENTS + 8 * u32::from(*argument) + half)];
            if *mask != u32::MAX {
                program.push(statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, *mask));
            }
            for (index, value) in values.iter().enumerate() {
                program.push(jump(libc::BPF_JEQ, *value, values.len() - index, 0));
            }
            let verdicts = [refuse(*otherwise), give(libc::SECCOMP_RET_ALLOW)];
            program.extend(if *but { [verdicts[1], verdicts[0]] } else { verdicts });
            program
        }
    }
}

fn load(offset: u32) -> libc::sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn give(verdict: u32) -> libc::sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, verdict)
}

fn refuse(error: i32) -> libc::sock_filter {
    give(libc::SECCOMP_RET_ERRNO | (error as u32 & libc::SECCOMP_RET_DATA))
}

fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// Leaps over so many instructions if the comparison holds, over so many otherwise.
fn jump(comparison: u32, k: u32, yes: usize, no: usize) -> libc::sock_filter {
    let code = (libc::BPF_JMP | comparison | libc::BPF_K) as u16;
    debug_assert!(yes <= FARTHEST && no <= FARTHEST);
    libc::sock_filter { code, jt: yes as u8, jf: no as u8, k }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Runs a program as the kernel does: what it gives, and in how many steps.
    pub fn run(program: &[libc::sock_filter], architecture: u32, number: u32, arguments: [u64; 6]) -> (u32, usize) {
        let (mut at, mut value, mut steps) = (0, 0u32, 0);
        loop {
            let one = program[at];
            (at, steps) = (at + 1, steps + 1);
            let leap = |holds: bool| usize::from(if holds { one.jt } else { one.jf });
            match u32::from(one.code) {
                0x20 => {
                    value = match one.k {
                        NUMBER => number,
                        ARCHITECTURE_OF_CALL => architecture,
                        k => arguments[(k - ARGUMENTS) as usize / 8] as u32,
                    }
                }
                0x54 => value &= one.k,
                0x05 => at += one.k as usize,
                0x15 => at += leap(value == one.k),
                0x35 => at += leap(value >= one.k),
                0x06 => return (one.k, steps),
                code => panic!("{code:#x}"),
            }
        }
    }

    pub fn decide(program: &[libc::sock_filter], number: u32, arguments: [u64; 6]) -> u32 {
        run(program, ARCHITECTURE.unwrap(), number, arguments).0
    }

    #[test]
    fn every_number_gets_its_verdict() {
        let only = |but| Verdict::Only { argument: 1, mask: 0xff, values: vec![3, 5], but, otherwise: libc::EPERM };
        let refused = |error: i32| libc::SECCOMP_RET_ERRNO | error as u32;
        // Enough of them that a jump has to be a far one.
        for count in [0u32, 1, 2, 7, 400] {
            let mut verdicts: BTreeMap<i64, Verdict> = (0..count).map(|n| (i64::from(n) * 3, Verdict::Allow)).collect();
            verdicts.insert(1, Verdict::Refuse(libc::ENOSYS));
            verdicts.extend([(5_000, only(false)), (5_001, only(true)), (5_002, Verdict::Allow)]);
            let program = compile(&verdicts, &Verdict::Refuse(libc::EPERM)).unwrap();
            for number in (0..6_000).chain([0x4000_0000, 0x4000_0001, u32::MAX]) {
                for argument in [0u64, 3, 0x103, 5, 6, 3 << 32] {
                    let expected = match verdicts.get(&i64::from(number)) {
                        None => refused(libc::EPERM),
                        Some(Verdict::Allow) => libc::SECCOMP_RET_ALLOW,
                        Some(Verdict::Refuse(error)) => refused(*error),
                        Some(Verdict::Only { values, but, .. }) => {
                            match values.contains(&(argument as u32 & 0xff)) != *but {
                                true => libc::SECCOMP_RET_ALLOW,
                                false => refused(libc::EPERM),
                            }
                        }
                    };
                    let arguments = [7, argument, 7, 7, 7, 7];
                    assert_eq!(decide(&program, number, arguments), expected, "{count}: {number} {argument:#x}");
                }
            }
            assert_eq!(run(&program, 1, 0, [0; 6]).0, libc::SECCOMP_RET_KILL_PROCESS);
            assert!(run(&program, ARCHITECTURE.unwrap(), 5_000, [0; 6]).1 < 30);
        }
    }
}
