#!/usr/bin/env python3
"""Makes sign-bytes.json: requests of made-up nodes, and what must be signed for them.

It writes protobuf by hand and shares nothing with the crate, so that the two agree only if both are right. What must
be refused is made here as well, with the words that the refusal has. Run: ./make.py > sign-bytes.json
"""

import hashlib
import json

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SEED = bytes(range(32))
KEY = Ed25519PrivateKey.from_private_bytes(SEED)
EC_KEY = ec.derive_private_key(int.from_bytes(SEED, "big"), ec.SECP256K1())
EC_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while True:
        out.append((n & 0x7F) | (0x80 if n > 0x7F else 0))
        n >>= 7
        if not n:
            return bytes(out)


def number(field, n):
    return b"" if n == 0 else varint(field << 3) + varint(n)


def fixed64(field, n):
    return b"" if n == 0 else varint(field << 3 | 1) + n.to_bytes(8, "little", signed=True)


def data(field, value, always=False):
    return varint(field << 3 | 2) + varint(len(value)) + value if value or always else b""


def delimited(message):
    return varint(len(message)) + message


def timestamp(time):
    seconds, nanos = time
    return number(1, seconds) + number(2, nanos)


def block_id(block):
    """Of requests and of sign bytes alike: there nil has an empty one, here it has none."""
    if block is None:
        return data(2, b"", always=True)
    block_hash, parts, parts_hash = block
    return data(1, block_hash) + data(2, number(1, parts) + data(2, parts_hash), always=True)


def vote(kind=1, height=1, round=0, block=None, time=(0, 0), address=b"", index=0, signature=b"", extension=b"",
         extension_signature=b""):
    return b"".join([
        number(1, kind), number(2, height), number(3, round), data(4, block_id(block), always=True),
        data(5, timestamp(time), always=True), data(6, address), number(7, index), data(8, signature),
        data(9, extension), data(10, extension_signature),
    ])


def proposal(kind=32, height=1, round=0, pol=-1, block=None, time=(0, 0), signature=b""):
    return b"".join([
        number(1, kind), number(2, height), number(3, round), number(4, pol), data(5, block_id(block), always=True),
        data(6, timestamp(time), always=True), data(7, signature),
    ])


def request(inner, chain):
    return data(1, inner, always=True) + data(2, chain.encode())


def canonical_vote(chain, kind=1, height=1, round=0, block=None, time=(0, 0), timed=True, **_):
    return delimited(b"".join([
        number(1, kind), fixed64(2, height), fixed64(3, round),
        b"" if block is None else data(4, block_id(block), always=True),
        data(5, timestamp(time), always=True) if timed else b"", data(6, chain.encode()),
    ]))


def canonical_proposal(chain, kind=32, height=1, round=0, pol=-1, block=None, time=(0, 0), timed=True, **_):
    return delimited(b"".join([
        number(1, kind), fixed64(2, height), fixed64(3, round), number(4, pol),
        data(5, block_id(block), always=True), data(6, timestamp(time), always=True) if timed else b"",
        data(7, chain.encode()),
    ]))


def canonical_extension(chain, height=1, round=0, extension=b"", **_):
    return delimited(data(1, extension) + fixed64(2, height) + fixed64(3, round) + data(4, chain.encode()))


def ec_sign(message):
    """r and s over the SHA-256, with RFC 6979's nonce, and of the two s the low one."""
    r, s = decode_dss_signature(EC_KEY.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)))
    return r.to_bytes(32, "big") + min(s, EC_ORDER - s).to_bytes(32, "big")


def hashed(text):
    return hashlib.sha256(text.encode()).digest()


V = (hashed("V"), 1, hashed("parts of V"))
W = (hashed("W"), 1600, hashed("parts of W"))
NOON = (1_767_225_600, 123_456_789)
FIRST, LAST = (-62_135_596_800, 0), (253_402_300_799, 999_999_999)
HIGHEST = (1 << 63) - 2
CHAIN = "vectors-1"

VOTES = [
    ("a prevote of nil", CHAIN, dict(time=NOON)),
    ("a prevote of a block", CHAIN, dict(height=7, block=V, time=NOON, address=b"\x05" * 20, index=3)),
    ("a prevote in a later round", CHAIN, dict(height=7, round=2, block=W, time=NOON)),
    ("a precommit of nil", CHAIN, dict(kind=2, height=7, round=1, time=NOON)),
    ("a precommit with an empty extension", CHAIN, dict(kind=2, height=7, block=V, time=NOON)),
    ("a precommit with an extension", CHAIN, dict(kind=2, height=8, round=1, block=V, time=NOON, extension=b"price 7")),
    ("an extension of 300 bytes", CHAIN, dict(kind=2, height=8, block=W, time=NOON, extension=b"\xee" * 300)),
    ("the highest height and round", CHAIN, dict(kind=2, height=HIGHEST, round=(1 << 31) - 1, block=V, time=NOON)),
    ("Go's zero time", CHAIN, dict(block=V, time=FIRST)),
    ("the last moment of the year 9999", CHAIN, dict(block=V, time=LAST)),
    ("the first second of 1970", CHAIN, dict(block=V)),
    ("a moment before 1970", CHAIN, dict(block=V, time=(-1, 5))),
    ("a chain-id of 50 bytes", "c" * 50, dict(height=2, block=V, time=NOON)),
    ("a request with old signatures", CHAIN, dict(kind=2, height=9, block=V, time=NOON, signature=b"\x11" * 64,
                                                  extension_signature=b"\x22" * 64)),
]

PROPOSALS = [
    ("a proposal", CHAIN, dict(height=7, block=V, time=NOON)),
    ("a proposal of a block with a polka in round 0", CHAIN, dict(height=7, round=1, pol=0, block=V, time=NOON)),
    ("a proposal of a block with a polka in round 3", CHAIN, dict(height=7, round=9, pol=3, block=W, time=NOON)),
    ("a proposal with an old signature", CHAIN, dict(height=7, block=W, time=LAST, signature=b"\x11" * 64)),
]

HALF, SHORT = (V[0], 0, b""), (V[0][:31], 1, V[2])
VOTE, PROPOSAL = "cometVote", "cometProposal"
plain = request(vote(height=7, block=V, time=NOON), CHAIN)

REFUSED = [
    ("nothing", VOTE, b"", "the vote is missing"),
    ("no vote", VOTE, data(2, CHAIN.encode()), "the vote is missing"),
    ("no proposal", PROPOSAL, data(2, CHAIN.encode()), "the proposal is missing"),
    ("random bytes", VOTE, bytes(range(200, 250)), "not the protobuf message"),
    ("a field that votes do not have", VOTE, request(vote(time=NOON) + number(11, 1), CHAIN), "unknown fields"),
    ("a field that requests do not have", VOTE, plain + number(3, 1), "unknown fields"),
    ("a number in a longer form", VOTE, request(b"\x08\x81\x00" + vote(time=NOON)[2:], CHAIN), "its one encoding"),
    ("fields in another order", VOTE, plain[-2 - len(CHAIN):] + plain[:-2 - len(CHAIN)], "its one encoding"),
    ("a zero that is written", VOTE, request(b"\x08\x01\x10\x01\x18\x00" + vote(time=NOON)[4:], CHAIN), "its one encoding"),
    ("a chain-id that is no text", VOTE, data(1, vote(time=NOON), True) + data(2, b"\xff\xfe"), "not the protobuf message"),
    ("a byte more", VOTE, plain + b"\x00", "not the protobuf message"),
    ("type 0", VOTE, request(vote(kind=0, time=NOON), CHAIN), "type is 0"),
    ("a proposal's type", VOTE, request(vote(kind=32, block=V, time=NOON), CHAIN), "type is 32"),
    ("a vote's type", PROPOSAL, request(proposal(kind=1, block=V, time=NOON), CHAIN), "type is 1"),
    ("height 0", VOTE, request(vote(height=0, time=NOON), CHAIN), "height is 0"),
    ("height -1", VOTE, request(vote(height=-1, time=NOON), CHAIN), "height is -1"),
    ("the end of int64", VOTE, request(vote(height=HIGHEST + 1, time=NOON), CHAIN), "height is 9223372036854775807"),
    ("round -1", VOTE, request(vote(round=-1, time=NOON), CHAIN), "round is -1"),
    ("no block id", VOTE, request(vote(time=NOON).replace(b"\x22\x02\x12\x00", b""), CHAIN), "block id is missing"),
    ("no part-set header", VOTE, request(vote(time=NOON).replace(b"\x22\x02\x12\x00", b"\x22\x00"), CHAIN),
     "part-set header is missing"),
    ("a hash without parts", VOTE, request(vote(block=HALF, time=NOON), CHAIN), "half there"),
    ("parts without a hash", VOTE, request(vote(block=(b"", 1, V[2]), time=NOON), CHAIN), "half there"),
    ("no parts", VOTE, request(vote(block=(V[0], 0, V[2]), time=NOON), CHAIN), "half there"),
    ("a hash of 31 bytes", VOTE, request(vote(block=SHORT, time=NOON), CHAIN), "hash has 31 bytes"),
    ("a hash over the parts of 33 bytes", VOTE, request(vote(block=(V[0], 1, V[2] + b"\x00"), time=NOON), CHAIN),
     "parts has 33 bytes"),
    ("no timestamp", VOTE, request(vote(height=7, time=(0, 0)).replace(b"\x2a\x00", b""), CHAIN), "timestamp is missing"),
    ("before the year 1", VOTE, request(vote(time=(FIRST[0] - 1, 0)), CHAIN), "not within the years 1 to 9999"),
    ("after the year 9999", VOTE, request(vote(time=(LAST[0] + 1, 0)), CHAIN), "not within the years 1 to 9999"),
    ("a second in nanoseconds", VOTE, request(vote(time=(0, 1_000_000_000)), CHAIN), "not within the years 1 to 9999"),
    ("negative nanoseconds", VOTE, request(vote(time=(0, -1)), CHAIN), "not within the years 1 to 9999"),
    ("an address of 19 bytes", VOTE, request(vote(time=NOON, address=b"\x05" * 19), CHAIN), "address has 19 bytes"),
    ("index -1", VOTE, request(vote(time=NOON, index=-1), CHAIN), "index is -1"),
    ("an extension on a prevote", VOTE, request(vote(block=V, time=NOON, extension=b"e"), CHAIN), "extension of 1 bytes on a prevote"),
    ("an extension on nil", VOTE, request(vote(kind=2, time=NOON, extension=b"e"), CHAIN), "extension of 1 bytes on a precommit of nil"),
    ("another chain", VOTE, request(vote(height=7, block=V, time=NOON), "vectors-2"), "never signs for another"),
    ("no chain-id", VOTE, request(vote(height=7, block=V, time=NOON), ""), "never signs for another"),
    ("another chain's proposal", PROPOSAL, request(proposal(block=V, time=NOON), "vectors-2"), "never signs for another"),
    ("a proposal of nil", PROPOSAL, request(proposal(time=NOON), CHAIN), "a proposal of no block"),
    ("a proposal of half a block id", PROPOSAL, request(proposal(block=HALF, time=NOON), CHAIN), "half there"),
    ("POL round -2", PROPOSAL, request(proposal(round=1, pol=-2, block=V, time=NOON), CHAIN), "POL round is -2"),
    ("a POL round that is the proposal's", PROPOSAL, request(proposal(round=1, pol=1, block=V, time=NOON), CHAIN),
     "POL round is 1"),
    ("a vote as a proposal", PROPOSAL, plain, "not the protobuf message"),
]


def signed(name, kind, chain, asked, sign, statement, extension):
    case = {
        "name": name, "kind": kind, "chainId": chain, "request": asked.hex(), "signBytes": sign.hex(),
        "digest": hashlib.blake2b(statement, digest_size=32).hexdigest(), "signature": KEY.sign(sign).hex(),
        "secp256k1Signature": ec_sign(sign).hex(),
    }
    if extension is not None:
        case |= {"extensionSignBytes": extension.hex(), "extensionSignature": KEY.sign(extension).hex()}
    return case


def main():
    cases = []
    for name, chain, asked in VOTES:
        extended = asked.get("kind") == 2 and asked.get("block") is not None
        cases.append(signed(
            name, VOTE, chain, request(vote(**asked), chain), canonical_vote(chain, **asked),
            canonical_vote(chain, timed=False, **asked), canonical_extension(chain, **asked) if extended else None,
        ))
    for name, chain, asked in PROPOSALS:
        cases.append(signed(
            name, PROPOSAL, chain, request(proposal(**asked), chain), canonical_proposal(chain, **asked),
            canonical_proposal(chain, timed=False, **asked), None,
        ))
    refused = [{"name": name, "kind": kind, "request": asked.hex(), "words": words} for name, kind, asked, words in REFUSED]
    public = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    ec_public = EC_KEY.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    print(json.dumps({
        "about": "Made by make.py. Both keys are of one seed; signature is ed25519's.",
        "seed": SEED.hex(), "public": public.hex(), "secp256k1Public": ec_public.hex(), "signed": cases, "refused": refused,
    }, indent=1))


main()
