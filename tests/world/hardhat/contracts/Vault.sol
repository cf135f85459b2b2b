// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

/// Keeps what is paid in until a time, then gives it to one account.
contract Vault {
    address public immutable heir;
    uint256 public immutable opensAt;
    mapping(address => uint256) public paidIn;

    event PaidIn(address indexed by, uint256 amount);
    event Opened(uint256 amount);

    error NotTheHeir(address account);
    error TooEarly(uint256 opensAt, uint256 now_);

    constructor(address heir_, uint256 delaySeconds) payable {
        heir = heir_;
        opensAt = block.timestamp + delaySeconds;
    }

    receive() external payable {
        paidIn[msg.sender] += msg.value;
        emit PaidIn(msg.sender, msg.value);
    }

    function open() external {
        if (msg.sender != heir) revert NotTheHeir(msg.sender);
        if (block.timestamp < opensAt) revert TooEarly(opensAt, block.timestamp);
        uint256 amount = address(this).balance;
        emit Opened(amount);
        (bool ok,) = heir.call{value: amount}("");
        require(ok, "the heir refuses");
    }
}
