/*
 * The XDP program of Postern: classifies each frame and sends it one of four ways.
 *
 *   INSPECT  to the worker that is bound to this queue (XSKMAP)
 *   BRIDGE   to the other port, inside the kernel (DEVMAP)
 *   DROP     nowhere, counted by reason
 *   (never)  to the host's own IP stack: a gateway has no address on its ports
 *
 * One rule governs everything that is not plain: where anything is inspected ("guarded"), a frame that a receiver
 * could read as an inspected segment but this program cannot is dropped, never bridged.
 *
 * No header of the system is included: what the kernel gives is declared in kernel.h. The layouts shared with the loader are
 * `struct settings`, `struct policy` and `enum fate`; `dataplane/src/port/xdp/program.rs` has the other half of each.
 *
 * Context fields are read into locals at once: the verifier refuses a context pointer that was moved ("dereference of
 * modified ctx ptr"), which is what a compiler makes of a second access.
 */

#include "kernel.h"

#define INLINE static __attribute__((always_inline)) inline

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define HOST16(x) __builtin_bswap16(x)
#else
#define HOST16(x) (x)
#endif

/* --- shared with the loader -------------------------------------------------------------------------------- */

enum action { DROP = 0, BRIDGE = 1, INSPECT = 2 };

/* What became of a frame: index of a counter. New ones go to the end. */
enum fate {
	INSPECTED,		/* to a worker */
	BRIDGED,		/* to the other port, as the policy says */
	BRIDGED_UNINSPECTED,	/* to the other port because no worker is bound and the gateway fails open */
	DROPPED_POLICY,
	DROPPED_NO_WORKER,	/* no worker is bound and the gateway fails closed */
	DROPPED_NO_PORT,	/* the other port is gone */
	DROPPED_MALFORMED,	/* shorter than its headers say, or a field that cannot be */
	DROPPED_VLAN,		/* more VLAN tags than are looked behind */
	DROPPED_ENCAPSULATED,	/* IP inside a link-layer tunnel */
	DROPPED_EXTENSIONS,	/* IPv6 extension headers that are not followed */
	DROPPED_JUMBOGRAM,
	FATES = 16
};

#define QUEUES 64 /* receive queues of a port that can have a worker */

struct settings {
	u32 interface[2];	/* index of port A and B, 0 while it is gone */
	u32 bank;		/* which of the two policies holds */
	u32 open;		/* without a worker: bridge instead of drop */
};

/* Actions for what enters by one port, by what it is. */
struct ingress {
	u8 udp;
	u8 icmp;		/* ICMP and ICMPv6 */
	u8 icmp_error;		/* those of them that report on another packet */
	u8 other;		/* any other IP protocol */
	u8 fragment;		/* fragments of TCP over IPv4 */
	u8 fragment_v6;		/* any fragment of IPv6 */
	u8 link_control;	/* LLDP, spanning tree, LACP, 802.1X, CDP, OAM, PTP */
	u8 ethertype;		/* any other ethertype */
	u8 guarded;		/* something is inspected: see the rule at the top */
	u8 udp_class;		/* classes that decide, for counting: see CLASSES */
	u8 icmp_class;
	u8 other_class;
	u8 unused[4];
};

/* Two bits for a TCP port: what is done with a session opened to it from this side. */
#define PORTS_PER_WORD 32
#define PORT_WORDS (65536 / PORTS_PER_WORD)

/*
 * Classes that pass or drop are counted by number. 0 is none: what no class decides, or more than one may, or one whose
 * number is too large.
 */
#define CLASSES 256

struct policy {
	u64 tcp[2][PORT_WORDS];
	struct ingress ingress[2];
	u8 tcp_class[2][65536];	/* by port, as `tcp` */
};

struct count {
	u64 frames;
	u64 bytes;
};

struct map SECTION("maps") settings = { MAP_ARRAY, 4, sizeof(struct settings), 1, 0 };
struct map SECTION("maps") policies = { MAP_ARRAY, 4, sizeof(struct policy), 2, 0 };
struct map SECTION("maps") counts = { MAP_PERCPU_ARRAY, 4, sizeof(struct count), 2 * FATES, 0 };
struct map SECTION("maps") class_counts = { MAP_PERCPU_ARRAY, 4, sizeof(struct count), CLASSES, 0 };
struct map SECTION("maps") sockets = { MAP_XSKMAP, 4, 4, 2 * QUEUES, 0 };
struct map SECTION("maps") ports = { MAP_DEVMAP, 4, 8, 2, 0 };

/* --- frames ------------------------------------------------------------------------------------------------ */

enum {
	ETH_IPV4 = 0x0800,
	ETH_ARP = 0x0806,
	ETH_TRANSPARENT = 0x6558,
	ETH_VLAN = 0x8100,
	ETH_IPV6 = 0x86dd,
	ETH_SLOW = 0x8809,
	ETH_MPLS = 0x8847,
	ETH_MPLS_MULTICAST = 0x8848,
	ETH_PPPOE = 0x8864,
	ETH_8021X = 0x888e,
	ETH_QINQ = 0x88a8,
	ETH_LLDP = 0x88cc,
	ETH_PBB = 0x88e7,
	ETH_PTP = 0x88f7,
	ETH_CFM = 0x8902,
	ETH_NSH = 0x894f,
	ETH_QINQ_OLD1 = 0x9100,
	ETH_QINQ_OLD2 = 0x9200,
	ETH_QINQ_OLD3 = 0x9300,
	ETH_LEAST = 0x0600, /* below: a length, IEEE 802.3 clause 3.2.6 */
};

enum {
	IP_HOP_BY_HOP = 0,
	IP_ICMP = 1,
	IP_TCP = 6,
	IP_UDP = 17,
	IP_ROUTING = 43,
	IP_FRAGMENT = 44,
	IP_AH = 51,
	IP_ICMPV6 = 58,
	IP_DESTINATION = 60,
	IP_MOBILITY = 135,
	IP_HIP = 139,
	IP_SHIM6 = 140,
	IP_EXPERIMENT1 = 253,
	IP_EXPERIMENT2 = 254,
};

#define VLAN_TAGS 2
#define EXTENSIONS 8

struct frame {
	const struct policy *policy;
	const u8 *end;
	u32 side;
};

/* A verdict: the action in the low octet; for a drop, the fate above it; above that the class that decided. */
#define DROP_AS(fate) ((u32)(fate) << 8 | DROP)

INLINE u32 by_policy(u8 action)
{
	return action == BRIDGE || action == INSPECT ? action : DROP_AS(DROPPED_POLICY);
}

INLINE u32 by_class(u8 action, u8 class)
{
	return by_policy(action) | (action == INSPECT ? 0 : (u32)class << 16);
}

INLINE u16 read16(const u8 *at)
{
	return HOST16(*(const u16 *)at);
}

INLINE const struct ingress *ingress_of(const struct frame *frame)
{
	return &frame->policy->ingress[frame->side & 1];
}

INLINE u8 tcp_action(const struct frame *frame, u32 side, u16 port)
{
	u64 word = frame->policy->tcp[side & 1][(port / PORTS_PER_WORD) & (PORT_WORDS - 1)];
	return word >> (port % PORTS_PER_WORD * 2) & 3;
}

/*
 * TCP. A frame from A to B belongs to a session that A opened to the destination port, or to one that B opened to
 * the source port. If either is inspected it is inspected; so both directions of a session get the same answer
 * whoever opened it. Otherwise what holds is the action for this direction.
 */
INLINE u32 classify_tcp(const struct frame *frame, const u8 *at, u32 left)
{
	u16 source, destination;
	u8 there, back;

	if (left < 20 || at + 20 > frame->end)
		return DROP_AS(DROPPED_MALFORMED);
	source = read16(at);
	destination = read16(at + 2);
	there = tcp_action(frame, frame->side, destination);
	back = tcp_action(frame, frame->side ^ 1, source);
	if (back == INSPECT || there == INSPECT)
		return INSPECT;
	return by_class(there, frame->policy->tcp_class[frame->side & 1][destination]);
}

/*
 * ICMP: errors about packets of inspected sessions have an action of their own, since path MTU discovery
 * needs them (RFC 1191, RFC 8201). RFC 792: 3 unreachable, 11 time exceeded, 12 parameter problem.
 */
INLINE u32 classify_icmp(const struct frame *frame, const u8 *at, u32 left)
{
	u8 type;

	if (left < 8 || at + 8 > frame->end)
		return DROP_AS(DROPPED_MALFORMED);
	type = *at;
	if (type == 3 || type == 11 || type == 12)
		return by_policy(ingress_of(frame)->icmp_error);
	return by_class(ingress_of(frame)->icmp, ingress_of(frame)->icmp_class);
}

/*
 * ICMPv6: types below 128 are errors (RFC 4443, 2.1). Neighbour discovery (133-137, RFC 4861) is to IPv6 what
 * ARP is to IPv4, and multicast listener reports (130-132, 143) make switches deliver it: always bridged
 * (RFC 4890, 4.4.1), if it has the hop limit that its receivers insist on (RFC 4861, 6.1 and 7.1; RFC 3810, 5).
 */
INLINE u32 classify_icmpv6(const struct frame *frame, const u8 *at, u32 left, u8 hop_limit)
{
	u8 type;

	if (left < 4 || at + 4 > frame->end)
		return DROP_AS(DROPPED_MALFORMED);
	type = *at;
	if (type >= 133 && type <= 137 && hop_limit == 255)
		return BRIDGE;
	if (((type >= 130 && type <= 132) || type == 143) && hop_limit == 1)
		return BRIDGE;
	if (type < 128)
		return by_policy(ingress_of(frame)->icmp_error);
	return by_class(ingress_of(frame)->icmp, ingress_of(frame)->icmp_class);
}

INLINE u32 classify_ipv4(const struct frame *frame, const u8 *at)
{
	u32 header_len, total_len, left;
	u16 fragment;
	u8 protocol;

	if (at + 20 > frame->end)
		return DROP_AS(DROPPED_MALFORMED);
	header_len = (at[0] & 15) * 4;
	total_len = read16(at + 2);
	fragment = read16(at + 6);
	protocol = at[9];
	if (at[0] >> 4 != 4 || header_len < 20 || total_len < header_len || at + total_len > frame->end)
		return DROP_AS(DROPPED_MALFORMED);
	left = total_len - header_len;
	/*
	 * More fragments, or an offset. Fragments are put together by addresses, identification and protocol
	 * (RFC 791, 3.2): one of another protocol never becomes TCP.
	 */
	if (fragment & 0x3fff) {
		if (protocol == IP_TCP)
			return by_policy(ingress_of(frame)->fragment);
		if (protocol == IP_UDP)
			return by_policy(ingress_of(frame)->udp);
		if (protocol == IP_ICMP)
			return by_policy(ingress_of(frame)->icmp);
		return by_policy(ingress_of(frame)->other);
	}
	at += header_len;
	if (protocol == IP_TCP)
		return classify_tcp(frame, at, left);
	if (protocol == IP_UDP)
		return by_class(ingress_of(frame)->udp, ingress_of(frame)->udp_class);
	if (protocol == IP_ICMP)
		return classify_icmp(frame, at, left);
	return by_class(ingress_of(frame)->other, ingress_of(frame)->other_class);
}

/*
 * IPv6 (RFC 8200). Extension headers are followed up to EXTENSIONS of them. Fragments all have one action: the protocol
 * is what the first fragment says, whatever the others say (4.5), so any of them can be TCP.
 */
INLINE u32 classify_ipv6(const struct frame *frame, const u8 *at)
{
	u8 next, hop_limit;
	u32 left, len;
	int i;

	if (at + 40 > frame->end)
		return DROP_AS(DROPPED_MALFORMED);
	left = read16(at + 4);
	next = at[6];
	hop_limit = at[7];
	if (at[0] >> 4 != 6)
		return DROP_AS(DROPPED_MALFORMED);
	/* A length of 0 with a hop-by-hop header is a jumbogram (RFC 2675, 3), longer than any frame here. */
	if (left == 0 && next == IP_HOP_BY_HOP)
		return DROP_AS(DROPPED_JUMBOGRAM);
	if (at + 40 + left > frame->end)
		return DROP_AS(DROPPED_MALFORMED);
	at += 40;

#pragma unroll
	for (i = 0; i <= EXTENSIONS; i++) {
		switch (next) {
		case IP_TCP:
			return classify_tcp(frame, at, left);
		case IP_UDP:
			return by_class(ingress_of(frame)->udp, ingress_of(frame)->udp_class);
		case IP_ICMPV6:
			return classify_icmpv6(frame, at, left, hop_limit);
		case IP_FRAGMENT:
			if (left < 8)
				return DROP_AS(DROPPED_MALFORMED);
			return by_policy(ingress_of(frame)->fragment_v6);
		case IP_HIP:
		case IP_SHIM6:
		case IP_EXPERIMENT1:
		case IP_EXPERIMENT2:
			/* May have more headers behind them, in ways that are not known here. */
			if (ingress_of(frame)->guarded)
				return DROP_AS(DROPPED_EXTENSIONS);
			return by_policy(ingress_of(frame)->other);
		case IP_HOP_BY_HOP:
		case IP_ROUTING:
		case IP_DESTINATION:
		case IP_MOBILITY:
		case IP_AH:
			break;
		default:
			return by_class(ingress_of(frame)->other, ingress_of(frame)->other_class);
		}
		if (left < 8 || at + 8 > frame->end)
			return DROP_AS(DROPPED_MALFORMED);
		/* In units of 8 octets after the first 8 (RFC 8200, 4.2); AH: of 4, less 2 (RFC 4302, 2.2). */
		len = next == IP_AH ? (at[1] + 2) * 4 : (at[1] + 1) * 8;
		next = at[0];
		if (left < len)
			return DROP_AS(DROPPED_MALFORMED);
		left -= len;
		at += len;
	}
	return ingress_of(frame)->guarded ? DROP_AS(DROPPED_EXTENSIONS) : by_policy(ingress_of(frame)->other);
}

/*
 * A frame of IEEE 802.2: spanning tree (SAP 0x42) and Cisco's own (SNAP with 00-00-0C: CDP, PVST) are link control. IP
 * can come in SNAP with another OUI (RFC 1042; a host is to understand it, RFC 1122, 2.3.3) or in SAP 0x06.
 */
INLINE u32 classify_llc(const struct frame *frame, const u8 *at)
{
	if (at + 8 > frame->end)
		return DROP_AS(DROPPED_MALFORMED);
	if (at[0] == 0x42 && at[1] == 0x42)
		return by_policy(ingress_of(frame)->link_control);
	if (at[0] == 0xaa && at[1] == 0xaa && at[2] == 3 && at[3] == 0 && at[4] == 0 && at[5] == 0x0c)
		return by_policy(ingress_of(frame)->link_control);
	if (ingress_of(frame)->guarded && ((at[0] & 0xfe) == 0xaa || (at[0] & 0xfe) == 0x06))
		return DROP_AS(DROPPED_ENCAPSULATED);
	return by_policy(ingress_of(frame)->ethertype);
}

INLINE u32 classify(const struct frame *frame, const u8 *at)
{
	u16 type;
	int i;

	if (at + 14 > frame->end)
		return DROP_AS(DROPPED_MALFORMED);
	type = read16(at + 12);
	at += 14;
#pragma unroll
	for (i = 0; i < VLAN_TAGS; i++) {
		if (type != ETH_VLAN && type != ETH_QINQ)
			break;
		if (at + 4 > frame->end)
			return DROP_AS(DROPPED_MALFORMED);
		type = read16(at + 2);
		at += 4;
	}
	switch (type) {
	case ETH_IPV4:
		return classify_ipv4(frame, at);
	case ETH_IPV6:
		return classify_ipv6(frame, at);
	case ETH_ARP:
		return BRIDGE;
	case ETH_LLDP:
	case ETH_8021X:
	case ETH_SLOW:
	case ETH_CFM:
	case ETH_PTP:
		return by_policy(ingress_of(frame)->link_control);
	case ETH_VLAN:
	case ETH_QINQ:
	case ETH_QINQ_OLD1:
	case ETH_QINQ_OLD2:
	case ETH_QINQ_OLD3:
		if (ingress_of(frame)->guarded)
			return DROP_AS(DROPPED_VLAN);
		break;
	case ETH_MPLS:
	case ETH_MPLS_MULTICAST:
	case ETH_PPPOE:
	case ETH_TRANSPARENT:
	case ETH_PBB:
	case ETH_NSH:
		if (ingress_of(frame)->guarded)
			return DROP_AS(DROPPED_ENCAPSULATED);
		break;
	default:
		if (type < ETH_LEAST)
			return classify_llc(frame, at);
	}
	return by_policy(ingress_of(frame)->ethertype);
}

/* --- what is done ------------------------------------------------------------------------------------------ */

INLINE int finish(u32 side, u32 fate, u64 bytes, int result)
{
	u32 key = side * FATES + fate;
	struct count *count = map_lookup(&counts, &key);

	if (count) {
		count->frames += 1;
		count->bytes += bytes;
	}
	return result;
}

INLINE void count_class(u32 class, u64 bytes)
{
	struct count *count = map_lookup(&class_counts, &class);

	if (count) {
		count->frames += 1;
		count->bytes += bytes;
	}
}

INLINE int bridge(u32 side, u32 fate, u64 bytes)
{
	/* The last argument is what comes back when the map has no port there. */
	if (redirect_map(&ports, side ^ 1, XDP_DROP) != XDP_REDIRECT)
		return finish(side, DROPPED_NO_PORT, bytes, XDP_DROP);
	return finish(side, fate, bytes, XDP_REDIRECT);
}

int SECTION("xdp") postern(struct xdp_md *context)
{
	const u8 *start = (const u8 *)(long)context->data;
	const u8 *end = (const u8 *)(long)context->data_end;
	u32 interface = context->ingress_ifindex;
	u32 queue = context->rx_queue_index;
	u64 bytes = end - start;
	u32 zero = 0, bank, side, verdict;
	struct frame frame;
	const struct settings *set = map_lookup(&settings, &zero);

	if (!set)
		return XDP_DROP;
	if (interface == set->interface[0])
		side = 0;
	else if (interface == set->interface[1])
		side = 1;
	else
		return XDP_DROP;
	bank = set->bank & 1;
	frame.policy = map_lookup(&policies, &bank);
	if (!frame.policy)
		return XDP_DROP;
	frame.end = end;
	frame.side = side;

	verdict = classify(&frame, start);
	if (verdict >> 16)
		count_class(verdict >> 16 & (CLASSES - 1), bytes);
	verdict &= 0xffff;
	if (verdict == BRIDGE)
		return bridge(side, BRIDGED, bytes);
	if (verdict != INSPECT)
		return finish(side, verdict >> 8, bytes, XDP_DROP);
	if (queue < QUEUES && redirect_map(&sockets, side * QUEUES + queue, XDP_DROP) == XDP_REDIRECT)
		return finish(side, INSPECTED, bytes, XDP_REDIRECT);
	if (set->open)
		return bridge(side, BRIDGED_UNINSPECTED, bytes);
	return finish(side, DROPPED_NO_WORKER, bytes, XDP_DROP);
}

/* Nothing here calls a helper that the kernel reserves for programs under the GPL. */
char SECTION("license") terms[] = "Apache-2.0";
