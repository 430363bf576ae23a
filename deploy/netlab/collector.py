"""Writes syslog datagrams to a file, for a lab that stays: `python -m netlab.collector SOCKET FILE`."""

import os
import socket
import sys


def main():
    path, log = sys.argv[1:]
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(path)
    with open(log, "ab", buffering=0) as file:
        # Ends with the lab's folder at the latest.
        listener.settimeout(5.0)
        while os.path.exists(path):
            try:
                file.write(listener.recv(65536).rstrip(b"\n\0") + b"\n")
            except TimeoutError:
                continue


if __name__ == "__main__":
    main()
