//! Whether some bytes are a multiaddr (<https://multiformats.io/multiaddr>): a chain of (protocol code, value).
//! Only the protocols that Substrate's network layer can publish are known; the table is the multiformats registry's.

/// The value after a protocol code.
#[derive(Clone, Copy)]
enum Value {
    /// None.
    Empty,
    /// This many bytes.
    Fixed(usize),
    /// A varint length (not zero) and so many bytes.
    Prefixed,
}

fn value_of(protocol: u32) -> Option<Value> {
    Some(match protocol {
        4 => Value::Fixed(4),                        // ip4
        6 | 33 | 132 | 273 => Value::Fixed(2),       // tcp, dccp, sctp, udp
        41 => Value::Fixed(16),                      // ip6
        53..=56 => Value::Prefixed,                  // dns, dns4, dns6, dnsaddr
        421 => Value::Prefixed,                      // p2p
        400 | 449 | 466 => Value::Prefixed,          // unix, sni, certhash
        444 => Value::Fixed(12),                     // onion
        445 => Value::Fixed(37),                     // onion3
        777 => Value::Fixed(8),                      // memory
        4770 | 4780 => Value::Prefixed,              // ws and wss with a path
        275 | 276 | 280 | 281 | 290 => Value::Empty, // p2p-webrtc-star/-direct, webrtc-direct, webrtc, p2p-circuit
        301 | 302 | 443 | 448 | 454 => Value::Empty, // udt, utp, https, tls, noise
        460 | 461 | 465 => Value::Empty,             // quic, quic-v1, webtransport
        477..=480 => Value::Empty,                   // ws, wss, p2p-websocket-star, http
        _ => return None,
    })
}

/// Accepts one complete multiaddr of at least one protocol, all known, with shortest varints.
pub(super) fn check(mut bytes: &[u8]) -> Result<(), &'static str> {
    if bytes.is_empty() {
        return Err("it is empty");
    }
    while !bytes.is_empty() {
        let protocol = varint(&mut bytes)?;
        let len = match value_of(protocol).ok_or("it uses an unknown protocol")? {
            Value::Empty => 0,
            Value::Fixed(len) => len,
            Value::Prefixed => match varint(&mut bytes)? {
                0 => return Err("a value is empty"),
                len => len as usize,
            },
        };
        bytes = bytes.get(len..).ok_or("it ends within a value")?;
    }
    Ok(())
}

/// An unsigned varint of up to three bytes in its shortest form: enough for every code and length here.
fn varint(bytes: &mut &[u8]) -> Result<u32, &'static str> {
    let mut value = 0;
    for at in 0..3 {
        let (&byte, rest) = bytes.split_first().ok_or("it ends within a number")?;
        *bytes = rest;
        value |= u32::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return if byte == 0 && at > 0 { Err("a number is not in its shortest form") } else { Ok(value) };
        }
    }
    Err("a number is too large")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_nodes_publish_are_multiaddrs() {
        let peer = [&[0xa5, 0x03, 0x26][..], &[0x00, 0x24, 0x08, 0x01, 0x12, 0x20], &[7; 32]].concat();
        for head in [
            &[4, 1, 2, 3, 4, 6, 0x76, 0x5f][..],               // /ip4/1.2.3.4/tcp/30303
            &[4, 1, 2, 3, 4, 6, 0x76, 0x5f, 0xdd, 0x03],       // …/ws
            &[54, 3, b'a', b'.', b'b', 6, 1, 187, 0xde, 0x03], // /dns4/a.b/tcp/443/wss
            &[4, 1, 2, 3, 4, 0x91, 0x02, 0x76, 0x5f, 0xcd, 0x03], // /ip4/…/udp/…/quic-v1
        ] {
            assert_eq!(check(&[head, &peer].concat()), Ok(()), "{head:x?}");
        }
    }

    #[test]
    fn bytes_that_are_no_multiaddr_are_refused() {
        for bytes in [
            &[][..],
            &[4, 1, 2, 3],          // cut
            &[4, 1, 2, 3, 4, 6, 1], // cut in the second protocol
            &[1, 2],                // unknown protocol
            &[54, 0],               // empty name
            &[0x84, 0x00, 1, 2, 3, 4],
            &[0xff, 0xff, 0xff, 0x7f],
        ] {
            assert!(check(bytes).is_err(), "{bytes:x?}");
        }
    }
}
