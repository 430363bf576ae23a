"""Mail networks in namespaces: a client, the gateway under test and a server on one machine.

Used by `deploy/lab` and by the tests in `tests/live`. Python 3.11 and its standard library, as root.

    namespaces  three namespaces joined by two veth pairs, and sockets inside them
    programs    processes inside a namespace; they end when their owner ends
    gateway     what stands in the middle: Postern on AF_XDP, or a kernel bridge
    servers     postfix, smtp-sink, and a small server that writes down every octet
    clients     a client that speaks step by step; swaks, curl, smtplib
    packets     frames and captures: reading, and the TCP streams in them
    capture     everything that crosses one interface, as both ends saw it
    observe     the gateway's events, syslog lines and counters
    report      the same on a terminal
    scenes      what the lab shows
"""
