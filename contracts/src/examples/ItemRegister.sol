// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

/// @notice What a contract answers to be given an ERC-721 token safely.
interface IERC721Receiver {
    function onERC721Received(address operator, address from, uint256 tokenId, bytes calldata data)
        external
        returns (bytes4);
}

/// @title Records items of a token ledger in a contract, with an ERC-721 face.
/// @notice The id of a token is the same number on both ledgers. A record is a claim by whoever made it: it names the output of the token
/// ledger, and that output's lock names this contract and the recorder. Whoever reads a record checks it there.
contract ItemRegister {
    /// @notice Where an item stands on its token ledger.
    struct Item {
        bytes32 ledgerId;
        bytes32 outputId;
        address recordedBy;
    }

    string public constant name = "Bletchley Items";
    string public constant symbol = "ITEM";

    mapping(uint256 tokenId => Item) public items;
    mapping(address owner => uint256) private balances;
    mapping(uint256 tokenId => address) private owners;
    mapping(uint256 tokenId => address) private approvals;
    mapping(address owner => mapping(address operator => bool)) public isApprovedForAll;

    event ItemRecorded(bytes32 indexed tokenId, bytes32 indexed ledgerId, bytes32 outputId, address indexed by);
    event Transfer(address indexed from, address indexed to, uint256 indexed tokenId);
    event Approval(address indexed owner, address indexed approved, uint256 indexed tokenId);
    event ApprovalForAll(address indexed owner, address indexed operator, bool approved);

    error AlreadyRecorded(bytes32 tokenId, address by);
    error UnnamedOutput(bytes32 tokenId);
    error NoSuchToken(uint256 tokenId);
    error NotOwner(address account, uint256 tokenId);
    error NotPermitted(address operator, uint256 tokenId);
    error InvalidReceiver(address receiver);
    error InvalidOwner(address owner);

    /// @notice Records an item and gives its ERC-721 token to the caller.
    /// @param tokenId The item's id on the token ledger.
    /// @param ledgerId Which token ledger.
    /// @param outputId The output that holds the item there.
    function record(bytes32 tokenId, bytes32 ledgerId, bytes32 outputId) external {
        uint256 id = uint256(tokenId);
        if (owners[id] != address(0)) revert AlreadyRecorded(tokenId, items[id].recordedBy);
        if (ledgerId == 0 || outputId == 0) revert UnnamedOutput(tokenId);
        items[id] = Item(ledgerId, outputId, msg.sender);
        owners[id] = msg.sender;
        unchecked {
            ++balances[msg.sender]; // one for each of 2^256 ids at most
        }
        emit ItemRecorded(tokenId, ledgerId, outputId, msg.sender);
        emit Transfer(address(0), msg.sender, id);
    }

    function balanceOf(address owner) external view returns (uint256) {
        if (owner == address(0)) revert InvalidOwner(owner);
        return balances[owner];
    }

    function ownerOf(uint256 tokenId) public view returns (address owner) {
        owner = owners[tokenId];
        if (owner == address(0)) revert NoSuchToken(tokenId);
    }

    function getApproved(uint256 tokenId) external view returns (address) {
        ownerOf(tokenId);
        return approvals[tokenId];
    }

    function approve(address approved, uint256 tokenId) external {
        address owner = ownerOf(tokenId);
        if (msg.sender != owner && !isApprovedForAll[owner][msg.sender]) revert NotPermitted(msg.sender, tokenId);
        approvals[tokenId] = approved;
        emit Approval(owner, approved, tokenId);
    }

    function setApprovalForAll(address operator, bool approved) external {
        if (operator == address(0)) revert InvalidReceiver(operator);
        isApprovedForAll[msg.sender][operator] = approved;
        emit ApprovalForAll(msg.sender, operator, approved);
    }

    function transferFrom(address from, address to, uint256 tokenId) public {
        if (to == address(0)) revert InvalidReceiver(to);
        address owner = ownerOf(tokenId);
        if (owner != from) revert NotOwner(from, tokenId);
        if (msg.sender != owner && !isApprovedForAll[owner][msg.sender] && approvals[tokenId] != msg.sender) {
            revert NotPermitted(msg.sender, tokenId);
        }
        delete approvals[tokenId];
        unchecked {
            --balances[from]; // it owns this one
            ++balances[to];
        }
        owners[tokenId] = to;
        emit Transfer(from, to, tokenId);
    }

    function safeTransferFrom(address from, address to, uint256 tokenId) external {
        safeTransferFrom(from, to, tokenId, "");
    }

    function safeTransferFrom(address from, address to, uint256 tokenId, bytes memory data) public {
        transferFrom(from, to, tokenId);
        if (to.code.length == 0) return;
        try IERC721Receiver(to).onERC721Received(msg.sender, from, tokenId, data) returns (bytes4 answer) {
            if (answer != IERC721Receiver.onERC721Received.selector) revert InvalidReceiver(to);
        } catch (bytes memory reason) {
            if (reason.length == 0) revert InvalidReceiver(to);
            assembly ("memory-safe") {
                revert(add(reason, 32), mload(reason))
            }
        }
    }

    /// @notice A name for the item that needs no server: `bletchley:token/` and the id in hexadecimal.
    function tokenURI(uint256 tokenId) external view returns (string memory) {
        ownerOf(tokenId);
        bytes16 digits = "0123456789abcdef";
        bytes memory text = new bytes(64);
        for (uint256 i = 0; i < 64; ++i) {
            text[i] = digits[(tokenId >> (4 * (63 - i))) & 15];
        }
        return string.concat("bletchley:token/0x", string(text));
    }

    /// @notice ERC-165, ERC-721 and its metadata extension.
    function supportsInterface(bytes4 interfaceId) external pure returns (bool) {
        return interfaceId == 0x01ffc9a7 || interfaceId == 0x80ac58cd || interfaceId == 0x5b5e139f;
    }
}
