from itertools import chain, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seglit.data.sampling import EvaluationSampler, TrainingSampler

SMALL = st.integers(1, 5)


def micro_batches(count, length, seed, batch_size, rank=0, world_size=1, start=0):
    walk = iter(TrainingSampler(length, seed, batch_size, rank, world_size, lambda: start))
    return [list(islice(walk, batch_size)) for _ in range(count)]


@given(st.integers(1, 40), st.integers(0, 1 << 32), SMALL)
def test_each_epoch_is_a_permutation_without_a_seam(length, seed, batch_size):
    places = list(islice(TrainingSampler(length, seed, batch_size), 3 * length))
    assert [place.position for place in places] == list(range(3 * length))
    for epoch in range(3):
        samples = [place.sample for place in places[epoch * length : (epoch + 1) * length]]
        assert sorted(samples) == list(range(length))


@given(st.integers(1, 40), st.integers(0, 100), SMALL, SMALL, st.integers(0, 7))
def test_ranks_together_walk_as_one_process_does(length, seed, batch_size, world_size, step):
    """Micro-batch m of all ranks, in the order of ranks, is batch m of one rank with the whole batch."""
    start = step * batch_size * world_size
    alone = micro_batches(4, length, seed, batch_size * world_size, start=start)
    ranks = [micro_batches(4, length, seed, batch_size, rank, world_size, start) for rank in range(world_size)]
    for number in range(4):
        assert [place for rank in ranks for place in rank[number]] == alone[number]


@given(st.integers(1, 40), st.integers(0, 100), SMALL, SMALL)
def test_accumulated_batches_take_the_positions_of_a_large_one(length, seed, batch_size, accumulate):
    small = micro_batches(3 * accumulate, length, seed, batch_size)
    large = micro_batches(3, length, seed, batch_size * accumulate)
    assert list(chain(*small)) == list(chain(*large))


@given(st.integers(1, 40), SMALL, SMALL, st.integers(0, 20))
def test_a_walk_can_begin_anywhere(length, batch_size, world_size, batches):
    whole = micro_batches(batches + 3, length, 5, batch_size, 0, world_size)
    assert micro_batches(3, length, 5, batch_size, 0, world_size, batches * batch_size * world_size) == whole[-3:]


def test_the_start_is_asked_at_each_iteration():
    starts = iter([0, 8])
    sampler = TrainingSampler(5, 0, 4, start=lambda: next(starts))
    assert next(iter(sampler)).position == 0
    assert next(iter(sampler)).position == 8


def test_seeds_give_other_orders():
    orders = {tuple(place.sample for place in micro_batches(1, 20, seed, 20)[0]) for seed in range(10)}
    assert len(orders) == 10


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
@pytest.mark.parametrize("length", [1, 5, 6])
def test_evaluation_sees_each_sample_once(length, world_size):
    shards = [EvaluationSampler(length, rank, world_size) for rank in range(world_size)]
    samples = [place.sample for shard in shards for place in shard]
    assert sorted(samples) == list(range(length))
    assert [len(shard) for shard in shards] == [len(list(shard)) for shard in shards]
    assert all(place.position == place.sample for shard in shards for place in shard)
