// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import {CryptoDelegate} from "../CryptoDelegate.sol";

/// @title The cryptlet `calendar`: dates, business days and time zones. A date is yyyymmdd.
library Calendar {
    /// @notice keccak256("calendar"): the active version.
    bytes32 internal constant ID = keccak256("calendar");

    /// @notice The date itself if it is a business day, else the next one.
    /// @param calendar Whose holidays, for example "TARGET".
    function nextBusinessDay(uint32 date, string memory calendar) internal view returns (uint32) {
        return nextBusinessDay(ID, date, calendar);
    }

    /// @notice As above, from one exact package.
    function nextBusinessDay(bytes32 packageId, uint32 date, string memory calendar) internal view returns (uint32) {
        return abi.decode(CryptoDelegate.callPinned(packageId, "nextBusinessDay", abi.encode(date, calendar)), (uint32));
    }

    /// @notice Whether a date is a business day.
    function isBusinessDay(uint32 date, string memory calendar) internal view returns (bool) {
        return isBusinessDay(ID, date, calendar);
    }

    /// @notice As above, from one exact package.
    function isBusinessDay(bytes32 packageId, uint32 date, string memory calendar) internal view returns (bool) {
        return abi.decode(CryptoDelegate.callPinned(packageId, "isBusinessDay", abi.encode(date, calendar)), (bool));
    }

    /// @notice The same day of the month so many months later, or that month's last day if it is shorter.
    function addMonths(uint32 date, uint32 months) internal view returns (uint32) {
        return addMonths(ID, date, months);
    }

    /// @notice As above, from one exact package.
    function addMonths(bytes32 packageId, uint32 date, uint32 months) internal view returns (uint32) {
        return abi.decode(CryptoDelegate.callPinned(packageId, "addMonths", abi.encode(date, months)), (uint32));
    }

    /// @notice The instant at which clocks in a zone show a time on a date.
    /// @param secondsOfDay What the clock shows, in seconds since midnight.
    /// @param zone A name of the IANA time zone database, for example "Europe/Berlin".
    /// @return unixSeconds Seconds since 1970 in UTC.
    function toUtc(uint32 date, uint32 secondsOfDay, string memory zone) internal view returns (uint64 unixSeconds) {
        return toUtc(ID, date, secondsOfDay, zone);
    }

    /// @notice As above, from one exact package.
    function toUtc(bytes32 packageId, uint32 date, uint32 secondsOfDay, string memory zone)
        internal
        view
        returns (uint64 unixSeconds)
    {
        return abi.decode(CryptoDelegate.callPinned(packageId, "toUtc", abi.encode(date, secondsOfDay, zone)), (uint64));
    }

    /// @notice The day of the week: 1 is Monday, 7 is Sunday (ISO 8601).
    function weekday(uint32 date) internal view returns (uint8) {
        return weekday(ID, date);
    }

    /// @notice As above, from one exact package.
    function weekday(bytes32 packageId, uint32 date) internal view returns (uint8) {
        return abi.decode(CryptoDelegate.callPinned(packageId, "weekday", abi.encode(date)), (uint8));
    }
}
