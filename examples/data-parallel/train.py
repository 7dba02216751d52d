# SPDX-License-Identifier: Apache-2.0
"""Data-parallel training over several processes with plain sockets and NumPy, checked against one process.

Run by job.yaml, one process per node. The rendezvous variables are those of the field: MASTER_ADDR, MASTER_PORT,
RANK, WORLD_SIZE. Every rank holds the whole model and its share of each batch; the gradients are summed over all
ranks (all-reduce through rank 0) and every rank takes the same step. Rank 0 then trains alone on whole batches and
compares: the weights must agree to 1e-9. Environment besides: EPOCHS (default 12). Exit code 0 if they agree and the
accuracy reaches 0.9, else 1.
"""

import os
import socket
import struct
import sys
import time

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

Weights = NDArray[np.float64]

EPOCHS = int(os.environ.get("EPOCHS", "12"))
BATCH = 96
RATE = 0.5
TOLERANCE = 1e-9
ACCURACY = 0.9
MEET_WITHIN_S = 60.0


def main() -> int:
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    print(
        f"rank {rank} of {world}: meeting at {os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}",
        flush=True,
    )
    group = Group(rank, world, os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    images, targets = digits()

    weights = train(images, targets, group)
    group.close()
    if rank != 0:
        print(f"rank {rank}: done, {group.sent_bytes} bytes sent")
        return 0

    alone = train(images, targets, Group(0, 1, "", 0))
    difference = float(np.abs(weights - alone).max())
    accuracy = float((np.argmax(images @ weights, 1) == np.argmax(targets, 1)).mean())
    print(f"accuracy {accuracy:.4f} with {world} processes")
    print(f"largest difference from one process: {difference:.2e} (tolerance {TOLERANCE:.0e})")
    return 0 if difference <= TOLERANCE and accuracy >= ACCURACY else 1


def digits() -> tuple[Weights, Weights]:
    """1,797 images (64 pixels and a constant) and their one-hot labels."""
    pixels, labels = load_digits(return_X_y=True)
    images = np.hstack([pixels / 16.0, np.ones((len(pixels), 1))])
    return images, np.eye(10)[labels]


def train(images: Weights, targets: Weights, group: "Group") -> Weights:
    """Softmax regression by gradient descent; each rank computes the gradient of every WORLD_SIZE-th row."""
    weights = np.zeros((images.shape[1], targets.shape[1]))
    for epoch in range(EPOCHS):
        order = np.random.default_rng(epoch).permutation(len(images))  # the same on every rank
        loss = 0.0
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            mine = batch[group.rank :: group.world]
            chances = softmax(images[mine] @ weights)
            gradient = images[mine].T @ (chances - targets[mine])
            mine_loss = -np.log((chances * targets[mine]).sum(1)).sum()
            total = group.all_reduce(np.append(gradient.ravel(), mine_loss))
            weights -= RATE / len(batch) * total[:-1].reshape(weights.shape)
            loss += float(total[-1])
        if group.world > 1:
            print(f"rank {group.rank} epoch {epoch + 1}/{EPOCHS} loss {loss / len(order):.4f}", flush=True)
    return weights


def softmax(scores: Weights) -> Weights:
    powers = np.exp(scores - scores.max(1, keepdims=True))
    shares: Weights = powers / powers.sum(1, keepdims=True)
    return shares


class Group:
    """The processes of one training, connected as a star around rank 0."""

    def __init__(self, rank: int, world: int, address: str, port: int) -> None:
        self.rank, self.world, self.sent_bytes = rank, world, 0
        self.peers: list[socket.socket] = []
        if world > 1:
            self.peers = self._gather(address, port) if rank == 0 else [self._reach(address, port)]

    def all_reduce(self, values: Weights) -> Weights:
        """The sum over all ranks, added in the order of ranks, on every rank."""
        if self.rank == 0:
            total = values.copy()
            for peer in self.peers:
                total += np.frombuffer(receive(peer, values.nbytes))
            for peer in self.peers:
                self._send(peer, total.tobytes())
            return total
        for peer in self.peers:
            self._send(peer, values.tobytes())
            return np.frombuffer(receive(peer, values.nbytes))
        raise AssertionError("a rank other than 0 has exactly one peer")

    def close(self) -> None:
        for peer in self.peers:
            peer.close()

    def _gather(self, address: str, port: int) -> list[socket.socket]:
        """Rank 0 waits for all others; each says its rank first."""
        by_rank: dict[int, socket.socket] = {}
        with socket.create_server((address, port)) as server:
            server.settimeout(MEET_WITHIN_S)
            while len(by_rank) < self.world - 1:
                peer, _ = server.accept()
                (rank,) = struct.unpack(">I", receive(peer, 4))
                by_rank[rank] = peer
        return [by_rank[rank] for rank in sorted(by_rank)]

    def _reach(self, address: str, port: int) -> socket.socket:
        """Rank 0 may not listen yet: try until it does."""
        deadline = time.monotonic() + MEET_WITHIN_S
        while True:
            try:
                peer = socket.create_connection((address, port), timeout=MEET_WITHIN_S)
                break
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        peer.sendall(struct.pack(">I", self.rank))
        return peer

    def _send(self, peer: socket.socket, data: bytes) -> None:
        peer.sendall(data)
        self.sent_bytes += len(data)


def receive(peer: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes; ConnectionError if the other side ends before."""
    data = bytearray()
    while len(data) < size:
        part = peer.recv(size - len(data))
        if not part:
            raise ConnectionError(
                f"a peer ended after {len(data)} of {size} bytes: look at the log of the other rank"
            )
        data += part
    return bytes(data)


if __name__ == "__main__":
    sys.exit(main())
