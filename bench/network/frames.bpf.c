/*
 * Makes frames: each run turns the frame it is given into the next one of some TCP connections, and sends it.
 *
 * It is run by BPF_PROG_TEST_RUN with live frames (kernel, Documentation/bpf/bpf_prog_run.rst), many runs a call, and lies on no
 * interface. Connections take turns by source port; the sequence number of each goes on by the length of its payload. The
 * payload begins with the complement of both numbers, so that the checksum, a sum of ones' complements, stays right.
 *
 * The layout of `struct state` is known to `bench/src/frames.rs`. What the kernel gives is declared in dataplane/xdp/kernel.h.
 */

#include "kernel.h"

struct state {
	u32 made;		/* frames, of all calls */
	u32 connections;	/* a power of two */
	u32 payload_len;
	u32 first_port;
};

struct map SECTION("maps") states = { MAP_ARRAY, 4, sizeof(struct state), 1, 0 };

/* Ethernet, IPv4 and TCP, none with options. */
#define SOURCE_PORT (14 + 20)
#define SEQUENCE (SOURCE_PORT + 4)
#define PAYLOAD (14 + 20 + 20)

int SECTION("xdp") frames(struct xdp_md *context)
{
	u8 *start = (u8 *)(long)context->data;
	u8 *end = (u8 *)(long)context->data_end;
	u32 zero = 0, sequence, turn;
	u16 port;
	struct state *state = map_lookup(&states, &zero);

	if (!state || start + PAYLOAD + 6 > end)
		return XDP_DROP;
	turn = state->made++;
	port = __builtin_bswap16(state->first_port + (turn & (state->connections - 1)));
	sequence = __builtin_bswap32(turn / state->connections * state->payload_len);
	*(u16 *)(start + SOURCE_PORT) = port;
	*(u16 *)(start + PAYLOAD) = ~port;
	*(u32 *)(start + SEQUENCE) = sequence;
	*(u32 *)(start + PAYLOAD + 2) = ~sequence;
	return XDP_TX;
}

char SECTION("license") terms[] = "Apache-2.0";
