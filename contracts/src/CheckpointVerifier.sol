// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import {MerklePatricia, Rlp} from "./MerklePatricia.sol";

/// @title What validators sign about a block (specs/certificate.md).
struct Checkpoint {
    bytes32 ledger;
    uint64 height;
    bytes32 blockHash;
    bytes32 state;
    bytes32 validators;
    bytes32 next;
}

/// @title Follows a Bletchley ledger on another chain.
/// @notice Begins with the validators of the ledger's genesis document and believes nobody else: a checkpoint is taken over when
/// more than two thirds of the validators of its height signed it, and validators change only where a checkpoint of the old ones
/// says so. Anyone may submit checkpoints. What stands in a certified block, or in one before it, can then be proved.
contract CheckpointVerifier {
    /// @notice The ledger that is followed.
    bytes32 public immutable ledger;
    /// @notice Height of the newest certified block.
    uint64 public height;
    /// @notice Digest of the validators that sign the next checkpoint.
    bytes32 public validatorsDigest;
    /// @notice Height of each certified block by its hash; zero for any other.
    mapping(bytes32 blockHash => uint64) public certifiedAt;

    address[] private _validators;

    /// @dev A bit for each validator.
    uint256 private constant VALIDATORS_MAX = 256;
    /// @dev Headers between a block and a certified one.
    uint256 private constant HEADERS_MAX = 1024;
    /// @dev Half of the order of secp256k1 (EIP-2).
    uint256 private constant S_MAX = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;
    bytes32 private constant TYPE_HASH = keccak256(
        "Checkpoint(bytes32 ledger,uint64 height,bytes32 block,bytes32 state,bytes32 validators,bytes32 next)"
    );
    bytes32 private constant DOMAIN = keccak256(
        abi.encode(
            keccak256("EIP712Domain(string name,string version)"), keccak256("Bletchley Checkpoint"), keccak256("1")
        )
    );
    bytes private constant SET_DOMAIN = "bletchley/ledger/validators/1";

    /// @notice A block is certified.
    event Certified(uint64 indexed height, bytes32 indexed blockHash, bytes32 state);
    /// @notice Other validators sign from the next height on.
    event ValidatorsChanged(uint64 indexed height, bytes32 digest, address[] validators);

    /// @notice The set is empty, too large, or not in strictly ascending order.
    error BadSet();
    /// @notice The checkpoint is of another ledger.
    error WrongLedger(bytes32 found);
    /// @notice The checkpoint is not above the newest one.
    error NotNewer(uint64 found, uint64 newest);
    /// @notice The checkpoint was signed by, or leads to, another set than the one given.
    error WrongSet(bytes32 found, bytes32 expected);
    /// @notice The signature at this position is malformed, by a stranger, or by one who signed before.
    error BadSignature(uint256 position);
    /// @notice Too few validators signed.
    error NoQuorum(uint256 found, uint256 needed);
    /// @notice The headers do not lead from one to the next and to a certified block.
    error NotCertified(bytes32 blockHash);
    /// @notice The nodes do not lead to the item.
    error NotProved();

    /// @param ledger_ The ledger's id.
    /// @param validators_ The validators of its genesis document, in ascending order.
    constructor(bytes32 ledger_, address[] memory validators_) {
        ledger = ledger_;
        _replace(validators_);
    }

    /// @notice The validators that sign the next checkpoint.
    function validators() external view returns (address[] memory) {
        return _validators;
    }

    /// @notice Fewest signatures that are more than two thirds of the set.
    function quorum() public view returns (uint256) {
        return (_validators.length * 2) / 3 + 1;
    }

    /// @notice Takes over a checkpoint.
    /// @param checkpoint The checkpoint.
    /// @param signatures One signature of each of a quorum of validators, in any order: r, s, and a byte that is 0 or 1.
    /// @param nextSet The validators from the next height on, when the checkpoint says that they change; else empty.
    function submit(Checkpoint calldata checkpoint, bytes[] calldata signatures, address[] calldata nextSet) external {
        if (checkpoint.ledger != ledger) revert WrongLedger(checkpoint.ledger);
        if (checkpoint.height <= height) revert NotNewer(checkpoint.height, height);
        if (checkpoint.validators != validatorsDigest) revert WrongSet(checkpoint.validators, validatorsDigest);
        _checkSignatures(digestOf(checkpoint), signatures);
        height = checkpoint.height;
        certifiedAt[checkpoint.blockHash] = checkpoint.height;
        emit Certified(checkpoint.height, checkpoint.blockHash, checkpoint.state);
        if (checkpoint.next == checkpoint.validators) {
            if (nextSet.length != 0) revert BadSet();
        } else {
            bytes32 digest = setDigest(nextSet);
            if (digest != checkpoint.next) revert WrongSet(digest, checkpoint.next);
            _replace(nextSet);
            emit ValidatorsChanged(checkpoint.height, digest, nextSet);
        }
    }

    /// @notice The transaction at a position of a block.
    /// @param headers Headers from the block to a certified one, each the parent of the next; one, if it is certified itself.
    /// @param index Position in the block.
    /// @param nodes Nodes of the transactions' trie from its root.
    /// @return item The transaction's bytes (EIP-2718).
    function transactionAt(bytes[] calldata headers, uint256 index, bytes[] calldata nodes)
        external
        view
        returns (bytes memory item)
    {
        return _item(_roots(headers).transactions, index, nodes);
    }

    /// @notice The receipt at a position of a block; parameters as for `transactionAt`.
    function receiptAt(bytes[] calldata headers, uint256 index, bytes[] calldata nodes)
        external
        view
        returns (bytes memory item)
    {
        return _item(_roots(headers).receipts, index, nodes);
    }

    /// @notice A slot of a contract's storage after a block.
    /// @param headers As for `transactionAt`.
    /// @param account The contract.
    /// @param slot The slot.
    /// @param accountNodes Nodes of the state trie from its root (EIP-1186).
    /// @param slotNodes Nodes of the contract's storage trie from its root.
    function storageAt(
        bytes[] calldata headers,
        address account,
        bytes32 slot,
        bytes[] calldata accountNodes,
        bytes[] calldata slotNodes
    ) external view returns (uint256) {
        (,, bytes32 root,) = _account(_roots(headers).state, account, accountNodes);
        bytes memory value = MerklePatricia.get(root, abi.encodePacked(keccak256(abi.encode(slot))), slotNodes);
        return value.length == 0 ? 0 : Rlp.toUint(value);
    }

    /// @notice An account after a block; all zero when there is none. Parameters as for `storageAt`.
    function accountAt(bytes[] calldata headers, address account, bytes[] calldata nodes)
        external
        view
        returns (uint256 nonce, uint256 balance, bytes32 storageRoot, bytes32 codeHash)
    {
        return _account(_roots(headers).state, account, nodes);
    }

    /// @notice What validators sign (EIP-712).
    function digestOf(Checkpoint calldata checkpoint) public pure returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", DOMAIN, keccak256(abi.encode(TYPE_HASH, checkpoint))));
    }

    /// @notice What checkpoints call a set by.
    function setDigest(address[] memory set) public pure returns (bytes32) {
        bytes memory out = abi.encodePacked(uint64(SET_DOMAIN.length), SET_DOMAIN);
        for (uint256 i = 0; i < set.length; i++) {
            out = abi.encodePacked(out, uint64(20), set[i]);
        }
        return keccak256(out);
    }

    function _replace(address[] memory set) private {
        if (set.length == 0 || set.length > VALIDATORS_MAX) revert BadSet();
        for (uint256 i = 1; i < set.length; i++) {
            if (set[i - 1] >= set[i]) revert BadSet();
        }
        _validators = set;
        validatorsDigest = setDigest(set);
    }

    function _checkSignatures(bytes32 digest, bytes[] calldata signatures) private view {
        address[] memory set = _validators;
        uint256 needed = quorum();
        uint256 seen = 0;
        for (uint256 i = 0; i < signatures.length; i++) {
            uint256 bit = 1 << _position(set, _signer(digest, signatures[i], i), i);
            if (seen & bit != 0) revert BadSignature(i);
            seen |= bit;
        }
        if (signatures.length < needed) revert NoQuorum(signatures.length, needed);
    }

    function _signer(bytes32 digest, bytes calldata signature, uint256 position) private pure returns (address signer) {
        if (signature.length != 65) revert BadSignature(position);
        bytes32 r = bytes32(signature[:32]);
        bytes32 s = bytes32(signature[32:64]);
        uint8 v = uint8(signature[64]);
        if (uint256(s) > S_MAX || v > 1) revert BadSignature(position);
        signer = ecrecover(digest, 27 + v, r, s);
        if (signer == address(0)) revert BadSignature(position);
    }

    /// @dev Binary search.
    function _position(address[] memory set, address signer, uint256 position) private pure returns (uint256) {
        uint256 low = 0;
        uint256 high = set.length;
        while (low < high) {
            uint256 middle = (low + high) / 2;
            if (set[middle] == signer) return middle;
            if (set[middle] < signer) low = middle + 1;
            else high = middle;
        }
        revert BadSignature(position);
    }

    struct Roots {
        bytes32 state;
        bytes32 transactions;
        bytes32 receipts;
    }

    function _roots(bytes[] calldata headers) private view returns (Roots memory roots) {
        if (headers.length == 0 || headers.length > HEADERS_MAX) revert NotCertified(0);
        bytes32 last = keccak256(headers[0]);
        for (uint256 i = 1; i < headers.length; i++) {
            if (Rlp.word(headers[i], 0) != last) revert NotCertified(last);
            last = keccak256(headers[i]);
        }
        if (certifiedAt[last] == 0) revert NotCertified(last);
        roots.state = Rlp.word(headers[0], 3);
        roots.transactions = Rlp.word(headers[0], 4);
        roots.receipts = Rlp.word(headers[0], 5);
    }

    function _item(bytes32 root, uint256 index, bytes[] calldata nodes) private pure returns (bytes memory item) {
        item = MerklePatricia.get(root, Rlp.fromUint(index), nodes);
        if (item.length == 0) revert NotProved();
    }

    function _account(bytes32 root, address account, bytes[] calldata nodes)
        private
        pure
        returns (uint256 nonce, uint256 balance, bytes32 storageRoot, bytes32 codeHash)
    {
        bytes memory found = MerklePatricia.get(root, abi.encodePacked(keccak256(abi.encodePacked(account))), nodes);
        if (found.length == 0) {
            return (0, 0, MerklePatricia.EMPTY_ROOT, 0);
        }
        nonce = Rlp.uintAt(found, 0);
        balance = Rlp.uintAt(found, 1);
        storageRoot = Rlp.word(found, 2);
        codeHash = Rlp.word(found, 3);
    }
}
