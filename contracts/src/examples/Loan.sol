// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import {Calendar} from "../cryptlets/ICalendar.sol";
import {FxRates} from "../cryptlets/IFxRates.sol";

/// @title A loan in euros that is repaid in dollars, pounds or yen at the ECB's reference rate.
/// @notice Linear amortisation in monthly instalments, numbered from 1, with interest on the principal still outstanding.
/// All figures are integers; every division states how it rounds:
/// - principal of instalment n: floor(P * n / N) - floor(P * (n - 1) / N), so that the parts add up to P exactly;
/// - interest of instalment n: outstanding * annualRateBps / (10000 * 12), in cents, half up (each month counts a twelfth of a year);
/// - amount in the foreign currency: (principal + interest) * rateE8 / 10^8, in minor units, half up. Yen have no minor
///   unit, so that the divisor is 100 times larger.
/// The nominal date of instalment n lies n - 1 months after the first date, counted from that date every time. An
/// instalment falls due on the next TARGET business day and can be settled once the ECB has published that day's rates.
contract Loan {
    struct Instalment {
        uint32 nominalDate;
        uint32 businessDate;
        uint32 fixingDate;
        uint256 rateE8;
        uint256 interestEurCents;
        uint256 principalEurCents;
        uint256 amountForeignMinor;
    }

    uint256 public constant INSTALMENTS_MIN = 24;
    uint256 public constant INSTALMENTS_MAX = 480;
    uint256 public constant PRINCIPAL_EUR_CENTS_MAX = 10 ** 18;
    uint256 public constant ANNUAL_RATE_BPS_MAX = 10_000;

    /// @notice The ECB publishes at about 16:00 in Frankfurt.
    uint32 public constant PUBLISHED_SECONDS_OF_DAY = 16 * 3600;

    uint256 private constant BPS_PER_YEAR_IN_MONTHS = 10_000 * 12;
    uint256 private constant RATE_SCALE = 10 ** 8;
    string private constant HOLIDAYS = "TARGET";
    string private constant ZONE = "Europe/Berlin";

    address public immutable lender;
    address public immutable borrower;
    uint256 public immutable principalEurCents;
    uint256 public immutable annualRateBps;
    uint32 public immutable firstDate;
    uint256 public immutable instalments;
    /// @notice How many euro cents make the unit that one minor unit of the currency is measured against: 1, or 100 for yen.
    uint256 public immutable centsPerMinorUnit;
    string public currency;

    /// @notice How many instalments are settled; the next one has this number plus one.
    uint256 public settledCount;
    uint256 public totalForeignMinor;
    mapping(uint256 n => Instalment) public settled;

    event LoanAgreed(
        address indexed lender,
        address indexed borrower,
        uint256 principalEurCents,
        string currency,
        uint256 instalments
    );
    event InstalmentSettled(
        uint256 indexed n,
        uint32 nominalDate,
        uint32 businessDate,
        uint32 fixingDate,
        uint256 rateE8,
        uint256 interestEurCents,
        uint256 principalEurCents,
        uint256 amountForeignMinor
    );
    event LoanRepaid(uint256 totalForeignMinor);

    error NotAParty(address account);
    error InvalidTerms(string reason);
    error UnknownCurrency(string currency);
    error NoSuchInstalment(uint256 n);
    error NotNext(uint256 n, uint256 next);
    error NotYetDue(uint32 businessDate, uint64 unixSeconds);

    constructor(
        address lender_,
        address borrower_,
        uint256 principalEurCents_,
        string memory currency_,
        uint256 annualRateBps_,
        uint32 firstDate_,
        uint256 instalments_
    ) {
        if (lender_ == address(0) || borrower_ == address(0) || lender_ == borrower_) {
            revert InvalidTerms("lender and borrower must be two accounts");
        }
        if (principalEurCents_ == 0 || principalEurCents_ > PRINCIPAL_EUR_CENTS_MAX) {
            revert InvalidTerms("principal out of bounds");
        }
        if (annualRateBps_ > ANNUAL_RATE_BPS_MAX) revert InvalidTerms("interest above 100 percent a year");
        if (instalments_ < INSTALMENTS_MIN || instalments_ > INSTALMENTS_MAX) {
            revert InvalidTerms("from 24 to 480 instalments");
        }
        lender = lender_;
        borrower = borrower_;
        principalEurCents = principalEurCents_;
        annualRateBps = annualRateBps_;
        firstDate = firstDate_;
        instalments = instalments_;
        currency = currency_;
        centsPerMinorUnit = centsPerMinorUnitOf(currency_);
        emit LoanAgreed(lender_, borrower_, principalEurCents_, currency_, instalments_);
    }

    /// @notice What instalment n asks for in euros, known from the first day on.
    function due(uint256 n)
        public
        view
        returns (uint32 nominalDate, uint256 interestEurCents, uint256 principalPartEurCents)
    {
        if (n == 0 || n > instalments) revert NoSuchInstalment(n);
        uint256 repaidBefore = (principalEurCents * (n - 1)) / instalments;
        principalPartEurCents = (principalEurCents * n) / instalments - repaidBefore;
        interestEurCents = halfUp((principalEurCents - repaidBefore) * annualRateBps, BPS_PER_YEAR_IN_MONTHS);
        nominalDate = Calendar.addMonths(firstDate, uint32(n - 1));
    }

    /// @notice Settles the next instalment.
    function payInstalment() external returns (uint256 amountForeignMinor) {
        return settle(settledCount + 1);
    }

    /// @notice Settles instalment n, which must be the next one; naming it keeps a repeated transaction from paying twice.
    function settle(uint256 n) public returns (uint256 amountForeignMinor) {
        if (msg.sender != borrower && msg.sender != lender) revert NotAParty(msg.sender);
        if (n != settledCount + 1) revert NotNext(n, settledCount + 1);
        Instalment memory i;
        (i.nominalDate, i.interestEurCents, i.principalEurCents) = due(n);
        i.businessDate = Calendar.nextBusinessDay(i.nominalDate, HOLIDAYS);
        uint64 published = Calendar.toUtc(i.businessDate, PUBLISHED_SECONDS_OF_DAY, ZONE);
        if (block.timestamp < published) revert NotYetDue(i.businessDate, published);
        (i.rateE8, i.fixingDate) = FxRates.rate("EUR", currency, i.businessDate);
        i.amountForeignMinor = inForeignMinor(i.interestEurCents + i.principalEurCents, i.rateE8);
        note(n, i);
        return i.amountForeignMinor;
    }

    /// @notice Euro cents in minor units of the loan's currency, half up.
    function inForeignMinor(uint256 eurCents, uint256 rateE8) public view returns (uint256) {
        return halfUp(eurCents * rateE8, RATE_SCALE * centsPerMinorUnit);
    }

    function note(uint256 n, Instalment memory i) private {
        settledCount = n;
        settled[n] = i;
        totalForeignMinor += i.amountForeignMinor;
        emit InstalmentSettled(
            n,
            i.nominalDate,
            i.businessDate,
            i.fixingDate,
            i.rateE8,
            i.interestEurCents,
            i.principalEurCents,
            i.amountForeignMinor
        );
        if (n == instalments) emit LoanRepaid(totalForeignMinor);
    }

    function halfUp(uint256 numerator, uint256 denominator) private pure returns (uint256) {
        return (numerator + denominator / 2) / denominator;
    }

    function centsPerMinorUnitOf(string memory code) private pure returns (uint256) {
        bytes32 digest = keccak256(bytes(code));
        if (digest == keccak256("USD") || digest == keccak256("GBP")) return 1;
        if (digest == keccak256("JPY")) return 100;
        revert UnknownCurrency(code);
    }
}
