// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

/// A contract that takes ERC-721 tokens, answers something else, or refuses, as it was told.
contract Receivers {
    enum Manner {
        Takes,
        AnswersElse,
        RefusesSilently,
        RefusesInWords
    }

    Manner public immutable manner;
    uint256 public taken;

    constructor(Manner manner_) {
        manner = manner_;
    }

    function onERC721Received(address, address, uint256 tokenId, bytes calldata) external returns (bytes4) {
        if (manner == Manner.RefusesInWords) revert("not today");
        if (manner == Manner.RefusesSilently) revert();
        taken = tokenId;
        return manner == Manner.Takes ? this.onERC721Received.selector : bytes4(0);
    }
}
