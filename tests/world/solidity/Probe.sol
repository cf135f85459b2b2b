// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

/// What Probe creates.
contract Child {
    uint256 public value;

    constructor(uint256 value_) payable {
        require(value_ != 666, "unlucky child");
        value = value_;
    }
}

/// Does on request whatever a client may want to see in a receipt, a trace or an error.
contract Probe {
    uint256 public value; // slot 0
    mapping(uint256 => uint256) public table; // slot 1
    string public text; // slot 2
    address public immutable deployer;

    event Set(address indexed by, uint256 indexed value, string note);
    event Bare();

    error Refused(uint256 code, string why);

    constructor(uint256 value_) payable {
        value = value_;
        deployer = msg.sender;
        emit Set(msg.sender, value_, "constructed");
    }

    receive() external payable {
        emit Bare();
    }

    function set(uint256 value_, string calldata note) external payable {
        value = value_;
        emit Set(msg.sender, value_, note);
    }

    function setText(string calldata text_) external {
        text = text_;
    }

    function fill(uint256 from, uint256 count) external {
        for (uint256 i = from; i < from + count; ++i) table[i] = i + 1;
    }

    function clear(uint256 from, uint256 count) external {
        for (uint256 i = from; i < from + count; ++i) delete table[i];
    }

    function refuse(uint256 code) external pure {
        revert Refused(code, "because");
    }

    function refuseWithReason() external pure {
        revert("a plain reason");
    }

    function refuseSilently() external pure {
        revert();
    }

    function panicOverflow(uint256 x) external pure returns (uint256) {
        return x + type(uint256).max;
    }

    function panicAssert() external pure {
        assert(false);
    }

    function outOfGas() external {
        while (true) ++value;
    }

    function invalidOpcode() external pure {
        assembly {
            invalid()
        }
    }

    /// Calls itself so many levels deep, setting a slot on each.
    function nest(uint256 depth) external returns (uint256) {
        table[1000 + depth] = depth;
        if (depth == 0) return 0;
        return this.nest(depth - 1) + 1;
    }

    /// An inner call fails and the outer one goes on.
    function swallow() external returns (bool ok) {
        (ok,) = address(this).call(abi.encodeCall(this.refuseWithReason, ()));
        value += 1;
    }

    function createChild(uint256 value_, bytes32 salt) external payable returns (address) {
        return address(new Child{salt: salt, value: msg.value}(value_));
    }

    function sendTo(address payable to, uint256 amountWei) external {
        (bool ok,) = to.call{value: amountWei}("");
        require(ok, "sending failed");
    }

    function delegateTo(address other, bytes calldata input) external returns (bytes memory) {
        (bool ok, bytes memory output) = other.delegatecall(input);
        require(ok, "delegated call failed");
        return output;
    }

    /// Needs most of its gas inside a call, so that a limit which is only as high as what is used would fail (EIP-150).
    function needsForwardedGas(uint256 rounds) external returns (uint256) {
        return this.burn(rounds);
    }

    function burn(uint256 rounds) external returns (uint256 sum) {
        for (uint256 i = 0; i < rounds; ++i) sum = uint256(keccak256(abi.encode(i, sum)));
        value = sum;
    }

    function surroundings() external view returns (uint256, uint256, address, uint256, uint256, bytes32) {
        return (block.number, block.timestamp, block.coinbase, block.basefee, block.chainid, blockhash(block.number - 1));
    }

    function onlyAfter(uint256 time) external view {
        require(block.timestamp > time, "too early");
    }

    function whoAmI() external view returns (address sender, address origin) {
        return (msg.sender, tx.origin);
    }
}
