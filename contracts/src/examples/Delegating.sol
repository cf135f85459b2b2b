// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import {CryptoDelegate} from "../CryptoDelegate.sol";
import {Calendar} from "../cryptlets/ICalendar.sol";

/// @title The smallest contract that delegates: the same work with and without a cryptlet, to compare and to measure.
contract Delegating {
    uint256 public counter;
    uint8 public lastWeekday;

    event Counted(uint256 counter, uint8 weekday);
    event Answered(bool ok, bytes output);

    error NotADate(uint32 date);

    /// @notice Counts, and notes the day of the week of a date (yyyymmdd), worked out here.
    function countPlain(uint32 date) external returns (uint256) {
        return count(weekdayOf(date));
    }

    /// @notice Counts, and notes the day of the week of a date (yyyymmdd), as the cryptlet `calendar` says.
    function countDelegated(uint32 date) external returns (uint256) {
        return count(Calendar.weekday(date));
    }

    /// @notice Makes the same delegated call several times in one transaction; each has its own place in the record.
    function countDelegatedTimes(uint32 date, uint256 times) external returns (uint256 total) {
        for (uint256 i = 0; i < times; ++i) {
            total = count(Calendar.weekday(date));
        }
    }

    /// @notice Calls any cryptlet by name and lets its failure pass through.
    function ask(string calldata name, string calldata method, bytes calldata input)
        external
        view
        returns (bytes memory)
    {
        return CryptoDelegate.call(name, method, input);
    }

    /// @notice Calls any cryptlet by name, counts whether or not it answers, and says in an event which it was.
    function askCatching(string calldata name, string calldata method, bytes calldata input)
        external
        returns (bool ok, bytes memory output)
    {
        (ok, output) = CryptoDelegate.tryCall(name, method, input);
        ++counter;
        emit Answered(ok, output);
    }

    /// @notice As askCatching, for the digest of one exact package.
    function askPinnedCatching(bytes32 packageId, string calldata method, bytes calldata input)
        external
        returns (bool ok, bytes memory output)
    {
        (ok, output) = CryptoDelegate.tryCallPinned(packageId, method, input);
        ++counter;
        emit Answered(ok, output);
    }

    function count(uint8 weekday) private returns (uint256) {
        lastWeekday = weekday;
        emit Counted(++counter, weekday);
        return counter;
    }

    /// @dev Zeller's congruence, turned to ISO 8601: 1 is Monday, 7 is Sunday.
    function weekdayOf(uint32 date) private pure returns (uint8) {
        uint256 year = date / 10_000;
        uint256 month = (date / 100) % 100;
        uint256 day = date % 100;
        if (year == 0 || month == 0 || month > 12 || day == 0 || day > 31) revert NotADate(date);
        if (month < 3) {
            month += 12;
            --year;
        }
        uint256 sinceSaturday = (day + (13 * (month + 1)) / 5 + year + year / 4 - year / 100 + year / 400) % 7;
        return uint8((sinceSaturday + 5) % 7 + 1);
    }
}
