"""Runs `aws` many times for the price of one start: the installed CLI's own code in a fork per call.

Most of a call's time is Python that reads the CLI's modules and the services' models. This process has read them once;
`client.py` hands over arguments, environment, directory and the three standard streams of each call. It ends with its
standard input, and its directory with it.
"""

import array
import json
import os
import select
import shutil
import signal
import socket
import sys
import threading

import awscli.clidriver

SERVICES = ["cloudformation", "cloudwatch", "ec2", "ecr", "ecs", "elbv2", "iam", "logs", "servicediscovery", "sts"]


def receive(connection):
    """A call: its three streams, then its JSON to the end of the line."""
    data, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(3 * 4))
    streams = array.array("i")
    for _, _, content in ancillary:
        streams.frombytes(content)
    while not data.endswith(b"\n"):
        more = connection.recv(65536)
        if not more:
            raise EOFError("half a call")
        data += more
    return json.loads(data), streams


def gone(connection):
    """Whoever called has ended, by a signal perhaps: so does the call."""
    connection.recv(1)
    os._exit(143)


def answer(connection, loader):
    call, streams = receive(connection)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(call["directory"])
    os.environ.clear()
    os.environ.update(call["environment"])
    threading.Thread(target=gone, args=[connection], daemon=True).start()
    driver = awscli.clidriver.create_clidriver()
    driver.session.register_component("data_loader", loader)
    sys.argv = ["aws", *call["arguments"]]
    try:
        code = driver.main(call["arguments"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = 255
    connection.sendall(bytes([code & 255]))


def main(path):
    session = awscli.clidriver.create_clidriver().session
    for service in SERVICES:
        session.get_service_model(service)
    loader = session.get_component("data_loader")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    print("ready", flush=True)
    # Nobody waits for the calls: their callers hear of their end.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            shutil.rmtree(os.path.dirname(path))
            return
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            code = 255
            try:
                answer(connection, loader)
                code = 0
            finally:
                os._exit(code)
        connection.close()


main(sys.argv[1])
