// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

/// @title The precompiled contract through which a contract calls a cryptlet.
/// @notice specs/cryptodelegate.md says what stands behind it. A cryptlet is addressed either by keccak256 of its name, which
/// means the version that is active when the transaction runs, or by the 32-byte digest of one package, which never changes.
interface ICryptoDelegate {
    /// @notice The call was made and failed, and the failure is recorded in the block.
    /// @param status What kind of failure; the numbers are in specs/receipt.md.
    /// @param reason In words, for people.
    error CryptletFailed(uint8 status, string reason);

    /// @notice Calls a method of a cryptlet. Several calls in one transaction each have their own receipt.
    /// @param cryptlet keccak256 of the cryptlet's name, or the digest of one package.
    /// @param method The method's name, as the manifest has it.
    /// @param input The arguments, ABI-encoded as one tuple in the manifest's order.
    /// @return output The result, ABI-encoded as one tuple in the manifest's order.
    function call(bytes32 cryptlet, string calldata method, bytes calldata input)
        external
        view
        returns (bytes memory output);
}

/// @title Calls cryptlets by name or by package.
library CryptoDelegate {
    /// @notice Where the precompiled contract is, on every ledger that has one.
    address internal constant ADDRESS = 0x00000000000000000000000000000000000b1E7C;

    /// @dev An ABI-encoded `bytes` is at least an offset and a length.
    uint256 private constant OUTPUT_BYTES_MIN = 64;

    /// @notice Nothing answers at ADDRESS: this chain has no CryptoDelegate.
    error CryptoDelegateMissing();

    /// @notice The identifier under which a cryptlet is called by name.
    function id(string memory name) internal pure returns (bytes32) {
        return keccak256(bytes(name));
    }

    /// @notice Calls the active version of a cryptlet; a failure reverts with its own reason.
    function call(string memory name, string memory method, bytes memory input) internal view returns (bytes memory) {
        return callPinned(id(name), method, input);
    }

    /// @notice Calls one exact package, or any identifier that `id` gave; a failure reverts with its own reason.
    function callPinned(bytes32 packageId, string memory method, bytes memory input)
        internal
        view
        returns (bytes memory)
    {
        (bool ok, bytes memory answer) = raw(packageId, method, input);
        if (!ok) {
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
        return abi.decode(answer, (bytes));
    }

    /// @notice Calls the active version of a cryptlet and never reverts because the cryptlet failed.
    /// @return ok Whether the cryptlet answered.
    /// @return output The answer, or the revert data: CryptletFailed(uint8,string), ABI-encoded with its selector.
    function tryCall(string memory name, string memory method, bytes memory input)
        internal
        view
        returns (bool ok, bytes memory output)
    {
        return tryCallPinned(id(name), method, input);
    }

    /// @notice As tryCall, for one exact package.
    function tryCallPinned(bytes32 packageId, string memory method, bytes memory input)
        internal
        view
        returns (bool ok, bytes memory output)
    {
        (ok, output) = raw(packageId, method, input);
        if (ok) output = abi.decode(output, (bytes));
    }

    /// @dev A static call, so that nothing can be changed by asking. An address without code answers with success and
    /// nothing: that must not pass for a result.
    function raw(bytes32 packageId, string memory method, bytes memory input)
        private
        view
        returns (bool ok, bytes memory answer)
    {
        (ok, answer) = ADDRESS.staticcall(abi.encodeCall(ICryptoDelegate.call, (packageId, method, input)));
        if (ok && answer.length < OUTPUT_BYTES_MIN) revert CryptoDelegateMissing();
    }
}
