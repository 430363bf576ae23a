//! What no honest peer does, and budgets that were hit: one row each.
//!
//! A row makes the variant, its label in events and metrics, and its explanation in the documentation.

macro_rules! anomalies {
    ($($variant:ident, $label:literal, $help:literal;)*) => {
        /// Something that no honest peer does, or a budget that was hit.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Anomaly {
            $(#[doc = $help] $variant,)*
        }

        impl Anomaly {
            /// Every anomaly, in order.
            pub const ALL: &'static [Anomaly] = &[$(Anomaly::$variant,)*];

            /// Label in events and metrics.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Anomaly::$variant => $label,)* }
            }

            /// What it means.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Anomaly::$variant => $help,)* }
            }
        }
    };
}

anomalies! {
    InconsistentRetransmission, "tcp_inconsistent_retransmission", "A retransmission differed from what was forwarded; the first octets were sent again.";
    OutOfOrderOverflow, "tcp_out_of_order_overflow", "More out-of-order segments than the budget; the segment was dropped, its sender sends it again.";
    OutsideWindow, "tcp_outside_window", "Octets beyond what the receiver allowed; cut off, or dropped where nothing else is left.";
    BadAcknowledgement, "tcp_bad_acknowledgement", "An acknowledgement of octets that were never forwarded, or of ones long gone (RFC 5961); the segment was dropped.";
    BadFlags, "tcp_bad_flags", "A combination of TCP flags that means nothing; dropped.";
    InvalidReset, "tcp_invalid_reset", "A RST that is not at the next sequence number (RFC 5961); dropped.";
    DataOnSyn, "tcp_data_on_syn", "Octets on a SYN; cut off, their sender sends them again.";
    DataAfterFin, "tcp_data_after_fin", "Octets or a FIN beyond the end of the stream; dropped.";
    DifferentSyn, "tcp_different_syn", "A second SYN with another sequence number or options; dropped.";
    Urgent, "tcp_urgent", "An urgent pointer; cleared, the octet is inspected in line.";
    MiddleOfConnection, "tcp_middle_of_connection", "A segment of a connection whose start was not seen; dropped, or let through uninspected where that is configured.";
    OverlappingFragments, "ip_overlapping_fragments", "Fragments of one datagram that overlap or contradict each other (RFC 5722); the datagram was dropped.";
    TinyFragment, "ip_tiny_fragment", "A first fragment that ends within the headers (RFC 1858, RFC 7112); the datagram was dropped.";
    BadFragment, "ip_bad_fragment", "A fragment that no sender makes: beyond 64 KiB, empty, not to be fragmented, or cut within 8 octets; dropped.";
    FragmentOverflow, "ip_fragment_overflow", "More fragments than the budget; the datagram was dropped.";
    LowTtl, "ip_low_ttl", "Fewer hops left than the floor; raised to it.";
    Untidy, "untidy_header", "IP options, options of extension headers, reserved bits, or ECN that was not agreed on; overwritten.";
    Martian, "ip_martian", "A session from or to an address that no host on a network has (RFC 6890); dropped.";
    UnwantedOption, "tcp_unwanted_option", "A TCP option that may not pass, or not there; overwritten.";
    BadSack, "tcp_bad_sack", "SACK blocks of what was never forwarded, or where they were not agreed on; overwritten.";
    MissingTimestamp, "tcp_missing_timestamp", "A segment without the timestamps that were agreed on (RFC 7323); dropped.";
    OldTimestamp, "tcp_old_timestamp", "A timestamp older than the stream's (PAWS, RFC 7323); dropped.";
    BadEcho, "tcp_bad_echo", "An echo of a timestamp that was never sent; dropped.";
    BeyondMss, "tcp_beyond_mss", "More octets than the receiver takes in a segment; cut off.";
    Challenged, "tcp_challenged", "A SYN or RST that its receiver would question (RFC 5961); answered with an acknowledgement in its place.";
    OlderConnection, "tcp_older_connection", "A server acknowledged an older connection between the same ends instead of a SYN (RFC 9293, 3.5.1); let through bare, so that the client resets that one.";
    UnsolicitedReply, "smtp_unsolicited_reply", "A server reply to no command.";
    MalformedReply, "smtp_malformed_reply", "A server line that is not a reply.";
    ReplyLineTooLong, "smtp_reply_line_too_long", "A server line longer than the limit.";
    OddReplyCode, "smtp_odd_reply_code", "A reply with a code that RFC 5321 does not know, or with another code on each line; let through.";
    StartTlsStripped, "smtp_starttls_stripped", "A server no longer offers STARTTLS that did within the last week: somebody on the way may have taken the offer out.";
    OutOfTurn, "smtp_out_of_turn", "A command in a group whose last one was before it, or in a group that the server does not offer to take (RFC 2920); let through.";
    EightBitGreeting, "smtp_eight_bit_greeting", "EHLO or HELO with octets of 128 and more; let through.";
    RelayProbe, "smtp_relay_probe", "A recipient with which servers are tried for an open relay: a source route, or a local part that names a host; let through.";
    MimeAmbiguous, "mime_ambiguous", "A message that readers may divide or decode in different ways.";
    DuplicateField, "mime_duplicate_field", "A message with a second From, Subject, or other field that may stand there once.";
    PipelineOverflow, "smtp_pipeline_overflow", "More commands without reply than the budget.";
    EarlyClientData, "smtp_early_client_data", "Client octets before the server's banner, or before a reply that they depend on; dropped until then.";
    SwallowLimit, "close_swallow_limit", "A client kept sending after its session was refused; reset.";
}
