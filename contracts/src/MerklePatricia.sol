// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

/// @title Reads RLP (Ethereum yellow paper, appendix B) in memory. What it reads was hashed before, so that only its bounds are
/// checked, not that it is canonical.
library Rlp {
    /// @notice The bytes are not what they should be.
    error Malformed();

    /// @dev Places in memory: of the header, of the payload, and behind it.
    struct Item {
        uint256 start;
        uint256 payload;
        uint256 end;
        bool isList;
    }

    /// @notice The item at `place`, which must end at or before `end`.
    function item(uint256 place, uint256 end) internal pure returns (Item memory out) {
        if (place >= end) revert Malformed();
        uint256 first;
        assembly ("memory-safe") {
            first := byte(0, mload(place))
        }
        out.start = place;
        if (first < 0x80) {
            out.payload = place;
            out.end = place + 1;
        } else {
            out.isList = first >= 0xc0;
            uint256 short = out.isList ? first - 0xc0 : first - 0x80;
            uint256 size = short;
            uint256 bytesOfSize = 0;
            if (short > 55) {
                bytesOfSize = short - 55;
                if (bytesOfSize > 4 || place + 1 + bytesOfSize > end) revert Malformed();
                assembly ("memory-safe") {
                    size := shr(sub(256, mul(8, bytesOfSize)), mload(add(place, 1)))
                }
            }
            out.payload = place + 1 + bytesOfSize;
            out.end = out.payload + size;
        }
        if (out.end > end) revert Malformed();
    }

    /// @notice The list that is the whole of `data`.
    function list(bytes memory data) internal pure returns (Item memory out) {
        uint256 place;
        assembly ("memory-safe") {
            place := add(data, 32)
        }
        out = item(place, place + data.length);
        if (!out.isList || out.end != place + data.length) revert Malformed();
    }

    /// @notice The item at a position of a list.
    function nth(Item memory from, uint256 position) internal pure returns (Item memory out) {
        out = item(from.payload, from.end);
        for (uint256 i = 0; i < position; i++) {
            out = item(out.end, from.end);
        }
    }

    /// @notice How many items a list has; counts no further than `most`.
    function count(Item memory from, uint256 most) internal pure returns (uint256 found) {
        uint256 place = from.payload;
        while (place < from.end) {
            place = item(place, from.end).end;
            if (++found > most) revert Malformed();
        }
    }

    /// @notice The 32 bytes at a position of the list that is the whole of `data`.
    function word(bytes memory data, uint256 position) internal pure returns (bytes32 out) {
        return toWord(nth(list(data), position));
    }

    /// @notice The number at a position of the list that is the whole of `data`.
    function uintAt(bytes memory data, uint256 position) internal pure returns (uint256) {
        return number(nth(list(data), position));
    }

    /// @notice The number whose RLP is the whole of `data`.
    function toUint(bytes memory data) internal pure returns (uint256) {
        uint256 place;
        assembly ("memory-safe") {
            place := add(data, 32)
        }
        Item memory found = item(place, place + data.length);
        if (found.end != place + data.length) revert Malformed();
        return number(found);
    }

    /// @notice 32 bytes.
    function toWord(Item memory from) internal pure returns (bytes32 out) {
        if (from.isList || from.end - from.payload != 32) revert Malformed();
        uint256 place = from.payload;
        assembly ("memory-safe") {
            out := mload(place)
        }
    }

    /// @notice A number of at most 32 bytes.
    function number(Item memory from) internal pure returns (uint256 out) {
        uint256 size = from.end - from.payload;
        if (from.isList || size > 32) revert Malformed();
        if (size == 0) return 0;
        uint256 place = from.payload;
        assembly ("memory-safe") {
            out := shr(sub(256, mul(8, size)), mload(place))
        }
    }

    /// @notice The payload.
    function toBytes(Item memory from) internal pure returns (bytes memory out) {
        uint256 size = from.end - from.payload;
        uint256 place = from.payload;
        out = new bytes(size);
        assembly ("memory-safe") {
            mcopy(add(out, 32), place, size)
        }
    }

    /// @notice RLP of a number, as keys of a block's lists have it.
    function fromUint(uint256 value) internal pure returns (bytes memory) {
        if (value == 0) return hex"80";
        if (value < 0x80) return abi.encodePacked(uint8(value));
        uint256 size = 0;
        for (uint256 rest = value; rest != 0; rest >>= 8) {
            size++;
        }
        bytes memory out = abi.encodePacked(uint8(0x80 + size), bytes32(value << (8 * (32 - size))));
        assembly ("memory-safe") {
            mstore(out, add(size, 1))
        }
        return out;
    }
}

/// @title Proofs in Merkle-Patricia tries (Ethereum yellow paper, appendix D).
library MerklePatricia {
    /// @notice Root of a trie without entries.
    bytes32 internal constant EMPTY_ROOT = 0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421;

    /// @notice A node is not the one that the node before it names, or one is missing.
    error BadNode(uint256 position);

    using Rlp for Rlp.Item;

    /// @notice The value of a key, empty when the nodes show that there is none.
    function get(bytes32 root, bytes memory key, bytes[] memory nodes) internal pure returns (bytes memory) {
        if (root == EMPTY_ROOT) return "";
        uint256 nibble = 0;
        uint256 position = 0;
        Rlp.Item memory node = _named(root, nodes, position++);
        while (true) {
            Rlp.Item memory child;
            if (node.count(17) == 17) {
                if (nibble == key.length * 2) return node.nth(16).toBytes();
                child = node.nth(_nibble(key, nibble++));
            } else {
                if (node.count(17) != 2) revert Rlp.Malformed();
                bytes memory path = node.nth(0).toBytes();
                (bool same, uint256 size, bool isLeaf) = _follow(path, key, nibble);
                if (!same) return "";
                nibble += size;
                child = node.nth(1);
                if (isLeaf) return nibble == key.length * 2 ? child.toBytes() : bytes("");
            }
            if (child.isList) {
                node = child;
            } else if (child.end == child.payload) {
                return "";
            } else {
                node = _named(child.toWord(), nodes, position++);
            }
        }
        return "";
    }

    function _named(bytes32 hash, bytes[] memory nodes, uint256 position) private pure returns (Rlp.Item memory) {
        if (position >= nodes.length || keccak256(nodes[position]) != hash) revert BadNode(position);
        return Rlp.list(nodes[position]);
    }

    /// @dev Whether the key goes on with a node's path (hex-prefix encoding, appendix C), how long that is, and whether the node
    /// is a leaf.
    function _follow(bytes memory path, bytes memory key, uint256 from)
        private
        pure
        returns (bool same, uint256 size, bool isLeaf)
    {
        if (path.length == 0) revert Rlp.Malformed();
        uint256 flags = _nibble(path, 0);
        if (flags > 3) revert Rlp.Malformed();
        isLeaf = flags >= 2;
        uint256 skip = flags % 2 == 1 ? 1 : 2;
        size = path.length * 2 - skip;
        if (from + size > key.length * 2) return (false, size, isLeaf);
        for (uint256 i = 0; i < size; i++) {
            if (_nibble(path, skip + i) != _nibble(key, from + i)) return (false, size, isLeaf);
        }
        same = true;
    }

    function _nibble(bytes memory data, uint256 position) private pure returns (uint256) {
        uint256 pair = uint8(data[position / 2]);
        return position % 2 == 0 ? pair >> 4 : pair & 15;
    }
}
