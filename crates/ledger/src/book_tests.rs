#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use bletchley_crypto::SecretKey;
use bletchley_primitives::BlockHash;

const EPOCH_BLOCKS: u64 = 10;

struct Members {
    keys: Vec<SecretKey>,
    set: Arc<ValidatorSet>,
}

impl Members {
    fn new(count: u8) -> Self {
        let keys: Vec<SecretKey> = (0..count).map(|n| SecretKey::from_seed(&[b'v', n])).collect();
        let set = Arc::new(ValidatorSet::new(keys.iter().map(SecretKey::address)));
        Self { keys, set }
    }

    fn checkpoint(&self, height: u64) -> Checkpoint {
        Checkpoint {
            ledger: LedgerId(B256::repeat_byte(1)),
            height: Height(height),
            block: BlockHash(B256::with_last_byte(height as u8)),
            state: B256::repeat_byte(3),
            validators: self.set.digest(),
            next: self.set.digest(),
        }
    }

    fn address(&self, who: usize) -> Address {
        self.keys[who].address()
    }

    fn vote(&self, who: usize, checkpoint: Checkpoint) -> CheckpointVote {
        CheckpointVote { checkpoint, signature: checkpoint.sign(&self.keys[who]) }
    }

    fn keep(&self, book: &mut CertificateBook, height: u64) -> Gathered {
        let checkpoint = self.checkpoint(height);
        book.kept(checkpoint, Some((self.address(0), checkpoint.sign(&self.keys[0]))), &self.set)
    }

    fn offer(&self, book: &mut CertificateBook, who: usize, height: u64) -> Result<Gathered, VoteError> {
        book.offer(self.address(who), self.vote(who, self.checkpoint(height)), &self.set)
    }
}

fn book() -> CertificateBook {
    CertificateBook::new(LedgerId(B256::repeat_byte(1)), EPOCH_BLOCKS)
}

#[test]
fn a_quorum_for_one_checkpoint_makes_a_certificate_in_any_order() {
    let members = Members::new(4);
    for order in [[0, 1, 2], [1, 0, 2], [1, 2, 0]] {
        let mut book = book();
        let mut certificates = Vec::new();
        for who in order {
            let gathered =
                if who == 0 { members.keep(&mut book, 5) } else { members.offer(&mut book, who, 5).unwrap() };
            certificates.extend(gathered.certificate);
        }
        assert_eq!(certificates.len(), 1);
        assert_eq!(certificates[0].verify(&members.set), Ok(()));
        assert_eq!(members.offer(&mut book, 3, 5), Ok(Gathered::default()), "a late vote changes nothing");
        assert_eq!(members.offer(&mut book, 1, 5), Ok(Gathered::default()), "nor does a repeated one");
        assert!(book.open().is_empty());
    }
}

#[test]
fn votes_that_no_honest_member_sends_are_refused() {
    let members = Members::new(4);
    let stranger = Members { keys: vec![SecretKey::from_seed(b"stranger")], set: members.set.clone() };
    let mut book = book();
    let height = Height(5);
    let refused = stranger.offer(&mut book, 0, 5).unwrap_err();
    assert_eq!(refused, VoteError::Stranger { height, voter: stranger.address(0) });
    let other = Checkpoint { ledger: LedgerId::default(), ..members.checkpoint(5) };
    assert_eq!(
        book.offer(members.address(1), members.vote(1, other), &members.set),
        Err(VoteError::Ledger(height))
    );
    let set = Checkpoint { validators: B256::ZERO, ..members.checkpoint(5) };
    assert_eq!(
        book.offer(members.address(1), members.vote(1, set), &members.set),
        Err(VoteError::WrongSet(height))
    );
    assert!(book.heights.is_empty(), "refused votes leave nothing");
}

#[test]
fn a_forged_signature_is_found_with_the_quorum_and_does_not_count() {
    let members = Members::new(4);
    let mut book = book();
    members.keep(&mut book, 5);
    // Validator 1 sends what validator 3 signed.
    let forged = members.vote(3, members.checkpoint(5));
    assert_eq!(book.offer(members.address(1), forged, &members.set), Ok(Gathered::default()));
    let gathered = members.offer(&mut book, 2, 5).unwrap();
    assert_eq!((gathered.certificate, gathered.forgers), (None, vec![members.address(1)]));
    assert_eq!(book.silent(Height(5)).len(), 2);
    // Its true vote still counts.
    let certificate = members.offer(&mut book, 1, 5).unwrap().certificate.unwrap();
    assert_eq!(certificate.verify(&members.set), Ok(()));
    let mut book = self::book();
    members.keep(&mut book, 5);
    members.offer(&mut book, 1, 5).unwrap();
    let forged = members.vote(3, members.checkpoint(5));
    let refused = book.offer(members.address(2), forged, &members.set).unwrap_err();
    assert_eq!(refused, VoteError::Signature { height: Height(5), voter: members.address(2) });
}

#[test]
fn two_checkpoints_by_one_validator_are_evidence() {
    let members = Members::new(4);
    let mut book = book();
    members.keep(&mut book, 5);
    let lie = Checkpoint { state: B256::repeat_byte(9), ..members.checkpoint(5) };
    let first = book.offer(members.address(1), members.vote(1, lie), &members.set).unwrap();
    assert_eq!(first.disagreements.len(), 1, "it signed another block than is final here");
    let found = members.offer(&mut book, 1, 5).unwrap().equivocation.unwrap();
    assert_eq!(found.validator, members.address(1));
    assert_ne!(found.first.checkpoint, found.second.checkpoint);
    for vote in [&found.first, &found.second] {
        assert!(signed_by(vote, found.validator), "evidence that convinces others");
    }
    assert_eq!((book.equivocations().len(), book.equivocations_seen()), (1, 1));
    let again = book.offer(members.address(1), members.vote(1, lie), &members.set).unwrap_err();
    assert_eq!(again, VoteError::Liar { height: Height(5), voter: members.address(1) });
    // A contradiction that somebody else made up is no evidence.
    let forged = CheckpointVote { checkpoint: lie, signature: members.vote(3, lie).signature };
    members.offer(&mut book, 2, 5).unwrap();
    let refused = book.offer(members.address(2), forged, &members.set).unwrap_err();
    assert_eq!(refused, VoteError::Signature { height: Height(5), voter: members.address(2) });
    assert_eq!(book.equivocations_seen(), 1);
}

#[test]
fn a_validator_alone_certifies_at_once() {
    let members = Members::new(1);
    assert_eq!(members.keep(&mut book(), 5).certificate.unwrap().verify(&members.set), Ok(()));
}

#[test]
fn memory_is_bounded_and_the_end_of_an_epoch_is_forgotten_last() {
    let members = Members::new(4);
    let mut book = book();
    let last = 2 * CertificateBook::HEIGHTS_MAX as u64;
    for height in 1..=last {
        let checkpoint = members.checkpoint(height);
        book.kept(checkpoint, None, &members.set);
    }
    assert_eq!(book.heights.len(), CertificateBook::HEIGHTS_MAX);
    let boundaries = (1..=last).filter(|height| height % EPOCH_BLOCKS == 0);
    assert!(boundaries.clone().all(|height| book.own(Height(height)).is_some()));
    book.forget_below(Height(last));
    assert_eq!(book.open().len(), boundaries.count() + usize::from(!last.is_multiple_of(EPOCH_BLOCKS)));
    // What was forgotten is not opened again by late votes.
    assert_eq!(members.offer(&mut book, 1, 7), Ok(Gathered::default()));
    assert!(book.own(Height(7)).is_none() && !book.heights.contains_key(&Height(7)));
}
