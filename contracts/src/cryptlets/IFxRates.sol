// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import {CryptoDelegate} from "../CryptoDelegate.sol";

/// @title The cryptlet `fx-rates`: euro foreign exchange reference rates of the European Central Bank.
library FxRates {
    /// @notice keccak256("fx-rates"): the active version.
    bytes32 internal constant ID = keccak256("fx-rates");

    /// @notice The reference rate of a currency pair on a date.
    /// @param base Three letters, ISO 4217: one unit of this
    /// @param quote is worth so many units of this.
    /// @param date yyyymmdd. On a day without a fixing (a weekend, a TARGET holiday) the last fixing before it holds.
    /// @return rateE8 The rate times 10^8, rounded half up.
    /// @return fixingDate yyyymmdd of the fixing that was used.
    function rate(string memory base, string memory quote, uint32 date)
        internal
        view
        returns (uint256 rateE8, uint32 fixingDate)
    {
        return rate(ID, base, quote, date);
    }

    /// @notice As above, from one exact package.
    function rate(bytes32 packageId, string memory base, string memory quote, uint32 date)
        internal
        view
        returns (uint256 rateE8, uint32 fixingDate)
    {
        bytes memory output = CryptoDelegate.callPinned(packageId, "rate", abi.encode(base, quote, date));
        return abi.decode(output, (uint256, uint32));
    }
}
