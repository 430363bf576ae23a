"""What no rule objects to arrives octet for octet, however it is sent."""

import threading

import pytest
from conftest import PLAIN, POSTFIX
from netlab import clients
from netlab.clients import Step, code, sha256, stuffed
from netlab.servers import content_as_sent
from policies import RULES

LARGE = 5_000_000


@pytest.fixture(autouse=True)
def middle(gate):
    return gate(RULES)


def test_a_large_mail_with_smtplib(network, plain, address):
    message = clients.make_message(LARGE)
    clients.send_with_smtplib(network.client, address, message)
    assert [sha256(each) for each in plain.messages()] == [sha256(message)]


def test_a_large_mail_with_curl(network, plain, address, tmp_path):
    message = clients.make_message(LARGE)
    path = tmp_path / "mail.eml"
    path.write_bytes(message.replace(b"\r\n", b"\n"))
    done = clients.curl(network.client, address, path)
    assert done.returncode == 0, done.stderr
    assert [sha256(each) for each in plain.messages()] == [sha256(message)]


def test_a_large_mail_with_swaks(network, plain, address):
    message = clients.make_message(LARGE)
    done = clients.swaks(network.client, address, data=message.decode("ascii").replace("\r\n", "\n"))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    # swaks puts one empty line of its own behind the data.
    assert [sha256(each.removesuffix(b"\r\n")) for each in plain.messages()] == [sha256(message)]


@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
def test_a_large_mail_to_postfix(network, postfix, family):
    before = len(postfix.messages())
    message = clients.make_message(LARGE, seed=f"postfix {family}")
    clients.send_with_smtplib(network.client, POSTFIX[family], message)
    stored = postfix.wait_for_messages(before + 1)
    assert len(stored) == before + 1
    assert sha256(content_as_sent(stored[-1], message)) == sha256(message)


def test_two_hundred_sessions_at_once(network, plain):
    """All are inside DATA before the first one ends."""
    count = 200
    messages = [clients.make_message(20_000, seed=number) for number in range(count)]
    all_in_data = threading.Barrier(count, timeout=60)
    codes, failures = [0] * count, []

    def session(number):
        try:
            with Step(network.client, PLAIN[number % 2], timeout=60) as step:
                step.read_reply()
                for line in ("EHLO client.example", f"MAIL FROM:<a{number}@example.org>", "RCPT TO:<bob@lab.example>", "DATA"):
                    step.say(line)
                octets = stuffed(messages[number])
                step.send(octets[:len(octets) // 2])
                all_in_data.wait()
                step.send(octets[len(octets) // 2:])
                codes[number] = code(step.read_reply())
                step.say("QUIT")
        except (OSError, threading.BrokenBarrierError) as error:
            failures.append((number, error))
            all_in_data.abort()

    threads = [threading.Thread(target=session, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert codes == [250] * count
    assert sorted(map(sha256, plain.messages())) == sorted(map(sha256, messages))


def test_load_generator_and_sink(network, sink):
    for address in sink:
        clients.smtp_source(network.client, address, sessions=200, messages=1000, length=4000, recipients=3)


def test_one_octet_per_segment(network, plain, address, ends):
    message = b"Subject: letters\r\n\r\n.one\r\n.\r\n..\r\n"
    with ends() as seen, Step(network.client, address, letters=True) as step:
        step.read_reply()
        assert step.say("HELO client.example") == 250
        assert step.say("MAIL FROM:<alice@example.org>") == 250
        assert step.say("RCPT TO:<bob@lab.example>") == 250
        assert step.say("DATA") == 354
        step.send(stuffed(message))
        assert code(step.read_reply()) == 250
        assert step.say("QUIT") == 221
    assert plain.messages() == [message]
    sizes = {len(segment.payload) for who, segment in seen.client[0].segments if who == "C" and segment.payload}
    assert sizes == {1}, "the test did not do what it says"


@pytest.mark.parametrize("cut", range(1, 5))
def test_end_of_data_cut_anywhere(network, plain, address, cut):
    """CRLF.CRLF in two segments, at each of its four inner cuts."""
    message = b"Subject: cut\r\n\r\nbody\r\n"
    with Step(network.client, address) as step:
        step.read_reply()
        for line in ("EHLO client.example", "MAIL FROM:<alice@example.org>", "RCPT TO:<bob@lab.example>", "DATA"):
            step.say(line)
        octets = stuffed(message)
        at = len(octets) - 5 + cut
        step.send(octets[:at])
        step.until_acknowledged()
        step.send(octets[at:])
        assert code(step.read_reply()) == 250
        assert step.say("QUIT") == 221
    assert plain.messages() == [message]


def test_a_pipelined_session(network, plain, address):
    """RFC 2920: envelope in one segment; the end of one mail and the next envelope in one segment."""
    first, second = clients.make_message(3000, seed=1), clients.make_message(3000, seed=2)
    envelope = b"MAIL FROM:<alice@example.org>\r\nRCPT TO:<bob@lab.example>\r\nRCPT TO:<carol@lab.example>\r\nDATA\r\n"
    with Step(network.client, address) as step:
        step.read_reply()
        assert step.say("EHLO client.example") == 250
        step.send(envelope)
        assert [code(step.read_reply()) for _ in range(4)] == [250, 250, 250, 354]
        step.send(stuffed(first) + envelope)
        assert [code(step.read_reply()) for _ in range(5)] == [250, 250, 250, 250, 354]
        step.send(stuffed(second) + b"QUIT\r\n")
        assert [code(step.read_reply()) for _ in range(2)] == [250, 221]
        assert step.read_to_end() == "closed"
    assert plain.messages() == [first, second]


def test_several_mails_in_one_connection(network, plain, address):
    messages = [clients.make_message(1000 * number, seed=number) for number in range(1, 6)]
    with Step(network.client, address) as step:
        step.read_reply()
        step.say("EHLO client.example")
        for message in messages:
            for line in ("RSET", "MAIL FROM:<alice@example.org>", "RCPT TO:<bob@lab.example>", "DATA"):
                assert step.say(line) < 400
            step.send(stuffed(message))
            assert code(step.read_reply()) == 250
        step.say("QUIT")
    assert plain.messages() == messages


def test_a_refused_data_is_followed_by_commands(network, plain_server, address):
    """Content begins with the 354, not with the client's DATA."""
    plain = plain_server(replies={"DATA": "554 5.5.1 No valid recipients"})
    with Step(network.client, address) as step:
        step.read_reply()
        step.say("EHLO client.example")
        step.say("MAIL FROM:<alice@example.org>")
        assert step.say("DATA") == 554
        assert step.say("NOOP") == 250
        assert step.say("QUIT") == 221
    assert plain.connections[0].commands[-2:] == [b"NOOP", b"QUIT"]


def test_loss_on_both_sides(network, plain, address):
    """Two of a hundred frames lost on either side: TCP mends it, through the gateway as through a wire."""
    message = clients.make_message(300_000)
    stops = [network.lose(network.server, "tcp dport 25 numgen random mod 100 < 2 drop"),
             network.lose(network.client, "tcp sport 25 numgen random mod 100 < 2 drop")]
    try:
        clients.send_with_smtplib(network.client, address, message, timeout=90)
    finally:
        for stop in stops:
            stop()
    assert [sha256(each) for each in plain.messages()] == [sha256(message)]
