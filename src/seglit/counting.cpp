// How often each pair of a label and a prediction from 0 to 255 occurs.

#include <cstdint>
#include <vector>

namespace {

constexpr int64_t BYTES = 256;

// Whether all values were such; else the counts are to be forgotten.
template <typename Label, typename Prediction>
int counted(const Label* labels, const Prediction* predictions, int64_t size, int64_t* counts) {
    // Two tables, as neighbours are often of one class, and one count has to be written before it is read again.
    std::vector<uint32_t> tables(2 * BYTES * BYTES);
    uint64_t all = 0;
    for (int64_t i = 0; i < size; ++i) {
        const uint64_t label = static_cast<uint64_t>(labels[i]), prediction = static_cast<uint64_t>(predictions[i]);
        all |= label | prediction;
        ++tables[(i & 1) * BYTES * BYTES + (label & 255) * BYTES + (prediction & 255)];
    }
    for (int64_t i = 0; i < BYTES * BYTES; ++i) counts[i] += tables[i] + tables[BYTES * BYTES + i];
    return all < BYTES;
}

}  // namespace

extern "C" {

int count_bytes_bytes(const uint8_t* labels, const uint8_t* predictions, int64_t size, int64_t* counts) {
    return counted(labels, predictions, size, counts);
}

int count_bytes_longs(const uint8_t* labels, const int64_t* predictions, int64_t size, int64_t* counts) {
    return counted(labels, predictions, size, counts);
}

int count_longs_bytes(const int64_t* labels, const uint8_t* predictions, int64_t size, int64_t* counts) {
    return counted(labels, predictions, size, counts);
}

int count_longs_longs(const int64_t* labels, const int64_t* predictions, int64_t size, int64_t* counts) {
    return counted(labels, predictions, size, counts);
}

}  // extern "C"
