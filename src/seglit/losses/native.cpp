// One visit of some rows of pixels: each is made from the logits at the head's stride, weighed, and forgotten.
//
// Where logits are resized, those of a pixel are put into one run of memory, so that every step is on whole vectors of
// channels, whatever the resizing; where they are not, a vector holds neighbouring pixels. native.py builds this file, fills the struct and says what its fields are.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

extern "C" struct Visit {
    int64_t channels, low_height, low_width, width, start, stop, first;
    const void* source;
    const int64_t* labels;
    int64_t ignored;
    const int64_t* row_places;
    const void* row_shares;
    const int64_t* column_places;
    const void* column_shares;
    int64_t mode;
    double lower, upper;
    void* surprise;
    int64_t means, overlaps;
    const double* gammas;
    const int64_t* powers;
    const void* mean_weights;
    const void* overlap_weights;
    const void* mean_slopes;
    const void* overlap_slopes;
    void* gradient;
    int64_t gradient_stride, is_fresh, is_same;
    double* found;
};

namespace {

enum Mode : int64_t { ALL, LOOK, CHOSEN };

constexpr int BYTES = 64;
constexpr int PIXELS = 64;  // whose sums of a class are few enough for the digits of float
typedef float Floats __attribute__((vector_size(BYTES)));
typedef double Doubles __attribute__((vector_size(BYTES)));
typedef int32_t Ints __attribute__((vector_size(BYTES)));

template <typename T, int SIZE> struct Vector {
    typedef T Type __attribute__((vector_size(SIZE)));
};

// exp of what is not positive: with x = n log 2 + r, 2^n times the series of exp(r) up to where float ends.
inline Floats exponential(Floats x) {
    const Floats rounding = Floats{} + 12582912.0f;  // 1.5 * 2^23, beyond which all floats are whole numbers
    const Floats n = (x * 1.44269504f + rounding) - rounding;
    const Floats r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // log 2 in two parts, the first times n exact
    Floats series = Floats{} + 1.0f / 5040;
    series = series * r + 1.0f / 720;
    series = series * r + 1.0f / 120;
    series = series * r + 1.0f / 24;
    series = series * r + 1.0f / 6;
    series = series * r + 0.5f;
    series = series * r + 1.0f;
    series = series * r + 1.0f;
    const Ints bits = (__builtin_convertvector(n, Ints) + 127) << 23;
    Floats scale;
    std::memcpy(&scale, &bits, BYTES);
    return x < -87.0f ? Floats{} : series * scale;
}

inline Doubles exponential(Doubles x) {
    for (int lane = 0; lane < 8; ++lane) x[lane] = std::exp(x[lane]);
    return x;
}

// log of what is 1 or more: with x = 2^n m and m around 1, n log 2 and twice the series of artanh((m - 1) / (m + 1)).
inline Floats logarithm(Floats x) {
    Ints bits;
    std::memcpy(&bits, &x, BYTES);
    const Ints n = (bits - 0x3f3504f3) >> 23;  // sqrt(1/2) is where m begins
    bits -= n << 23;
    Floats m;
    std::memcpy(&m, &bits, BYTES);
    const Floats s = (m - 1) / (m + 1), square = s * s, whole = __builtin_convertvector(n, Floats);
    Floats series = Floats{} + 1.0f / 9;
    series = series * square + 1.0f / 7;
    series = series * square + 1.0f / 5;
    series = series * square + 1.0f / 3;
    const Floats rest = 2 * s + 2 * s * square * series;
    return x < std::numeric_limits<float>::max() ? whole * 0.693359375f + (whole * -2.12194440e-4f + rest) : x;
}

inline Doubles logarithm(Doubles x) {
    for (int lane = 0; lane < 8; ++lane) x[lane] = std::log(x[lane]);
    return x;
}

// All lanes put together by an operation.
template <typename T, int WIDTH, typename Operation> inline T together(const void* values, Operation both) {
    if constexpr (WIDTH == sizeof(T)) {
        T value;
        std::memcpy(&value, values, WIDTH);
        return value;
    } else {
        typename Vector<T, WIDTH / 2>::Type halves[2];
        std::memcpy(halves, values, WIDTH);
        const auto one = both(halves[0], halves[1]);
        return together<T, WIDTH / 2>(&one, both);
    }
}

// What a visit adds up, however it goes through the pixels.
template <typename T> class Sums {
  protected:
    using Values = typename Vector<T, BYTES>::Type;
    using Row = std::vector<Values>;
    static constexpr int64_t LANES = BYTES / sizeof(T);

    const Visit& v;
    const bool has_gradient;

  private:
    // Of its own, as a neighbour in memory may belong to another core.
    std::vector<double> found;
    double *wrong, *correct, *valid, *counted, *mean_sums;

  protected:
    double *right_sums, *found_powers;

    explicit Sums(const Visit& visit) : v(visit), has_gradient(v.gradient != nullptr) {
        found.resize(3 + 2 * v.channels + v.means + 2 * v.overlaps * v.channels);
        wrong = found.data();
        correct = wrong + 2;
        valid = correct + 1;
        counted = valid + v.channels;
        mean_sums = counted + v.channels;
        right_sums = mean_sums + v.means;
        found_powers = right_sums + v.overlaps * v.channels;
    }

    void say() const { std::copy(found.begin(), found.end(), v.found); }

    const T* table(const void* tables, int64_t number) const {
        return static_cast<const T*>(tables) + number * v.channels;
    }

    T* surprises(int64_t y) const { return v.mode == ALL ? nullptr : static_cast<T*>(v.surprise) + y * v.width; }

    // Whether a pixel may count, as far as its label and what is known of its loss tell.
    bool is_wanted(int64_t label, T* surprises, int64_t x) {
        if (label == v.ignored || label < 0 || label >= v.channels) {
            if (label != v.ignored) {
                wrong[0] = 1;
                wrong[1] = static_cast<double>(label);
            }
            if (v.mode == LOOK) surprises[x] = -1;
            return false;
        }
        return v.mode != CHOSEN || chosen(surprises[x]);
    }

    // Whether it does count, now that its loss is known, how far its true logit is behind the highest one too.
    bool counts(int64_t label, T surprise, T behind, T* surprises, int64_t x) {
        if (v.mode != CHOSEN) {
            valid[label] += 1;
            *correct += behind <= 0;
        }
        if (v.mode == LOOK) {
            // What is no number is as hard as can be.
            T& ranked = surprises[x];
            ranked = surprise >= 0 ? surprise : std::numeric_limits<T>::infinity();
            if (!chosen(ranked)) return false;
        }
        counted[label] += 1;
        return true;
    }

    // The losses that are a function of the surprise, and the slope of all of them.
    T means(int64_t label, T surprise) {
        T slope = 0;
        for (int64_t i = 0; i < v.means; ++i) {
            const T weight = table(v.mean_weights, i)[label];
            T value = surprise, of_value = 1;
            if (v.gammas[i] != 0) fade(surprise, static_cast<T>(v.gammas[i]), value, of_value);
            mean_sums[i] += static_cast<double>(weight * value);
            if (has_gradient) slope += static_cast<const T*>(v.mean_slopes)[i] * weight * of_value;
        }
        return slope;
    }

    static void clear(Row& values) { std::fill(values.begin(), values.end(), Values{}); }

  private:
    bool chosen(T surprise) const { return !(surprise < v.lower || surprise >= v.upper); }

    // (1 - p)^gamma s and its derivative in s = -log p. A power below one has an infinite slope at zero, where that of
    // the product is zero: the least of numbers keeps such pixels out.
    static void fade(T surprise, T gamma, T& value, T& slope) {
        const T least = std::numeric_limits<T>::min(), difference = -std::expm1(-surprise);
        const T wrong = difference < least ? least : difference;
        const T power = gamma == 2 ? wrong * wrong : std::pow(wrong, gamma);
        value = power * surprise;
        slope = power * (1 + gamma * (1 - wrong) * surprise / wrong);
    }
};

// Logits at the resolution of the labels: a vector holds one channel of as many pixels as it has lanes, as they lie.
template <typename T> class Direct : Sums<T> {
    using Base = Sums<T>;
    using typename Base::Row;
    using typename Base::Values;
    using Base::clear, Base::has_gradient, Base::LANES, Base::table, Base::v;

    const int64_t plane;
    Row parts, slopes, power_sums;
    int64_t unsaid = 0;

  public:
    explicit Direct(const Visit& visit)
        : Base(visit), plane(v.low_height * v.low_width), parts(v.channels), slopes(v.channels),
          power_sums(v.overlaps * v.channels) {}

    void visit() {
        for (int64_t y = v.start; y < v.stop; ++y)
            for (int64_t x = 0; x < v.width; x += LANES) pixels(y, x, std::min(LANES, v.width - x));
        say_powers();
        this->say();
    }

  private:
    void pixels(int64_t y, int64_t x, int64_t count) {
        const int64_t* labels = v.labels + y * v.width + x;
        T* surprises = this->surprises(y);
        int64_t label[LANES];
        bool any = false;
        for (int64_t i = 0; i < count; ++i) {
            label[i] = this->is_wanted(labels[i], surprises, x + i) ? labels[i] : -1;
            any |= label[i] >= 0;
        }
        if (any) any = weigh(y, x, count, label, surprises);
        if (!has_gradient || !(any || v.is_fresh)) return;
        T* target = static_cast<T*>(v.gradient) + (y - v.first) * v.low_width + x;
        for (int64_t c = 0; c < v.channels; ++c, target += v.gradient_stride) {
            const T* values = reinterpret_cast<const T*>(&parts[c]);
            if (!v.is_fresh)
                for (int64_t i = 0; i < count; ++i) target[i] += values[i];
            else if (!any)
                std::fill(target, target + count, T{});
            else if (count == LANES)
                std::memcpy(target, values, BYTES);
            else
                std::copy(values, values + count, target);
        }
    }

    // Add up some pixels, and leave their gradient in `parts`; whether one of them counts.
    bool weigh(int64_t y, int64_t x, int64_t count, int64_t* label, T* surprises) {
        const T* source = static_cast<const T*>(v.source) + y * v.low_width + x;
        Values highest{}, total{}, behind{};
        for (int64_t c = 0; c < v.channels; ++c, source += plane) {
            Values logits{};
            if (count == LANES)
                std::memcpy(&logits, source, BYTES);
            else
                std::copy(source, source + count, reinterpret_cast<T*>(&logits));
            parts[c] = logits;
            highest = c == 0 || logits > highest ? logits : highest;
        }
        for (int64_t i = 0; i < count; ++i)
            if (label[i] >= 0) behind[i] = highest[i] - parts[label[i]][i];
        for (int64_t c = 0; c < v.channels; ++c) total += parts[c] = exponential(parts[c] - highest);
        const Values surprise = logarithm(total) + behind;
        Values slope{}, is_counted{};
        bool any = false;
        for (int64_t i = 0; i < count; ++i) {
            if (label[i] < 0) continue;
            if (!this->counts(label[i], surprise[i], behind[i], surprises, x + i)) {
                label[i] = -1;
                continue;
            }
            any = true;
            is_counted[i] = 1;
            slope[i] = this->means(label[i], surprise[i]);
        }
        if (!any) return false;
        // What does not count may be no number.
        for (int64_t c = 0; c < v.channels; ++c) parts[c] = is_counted != 0 ? parts[c] : Values{};
        const Values inverse = is_counted != 0 ? 1 / total : Values{};
        Values factor = slope * inverse;
        if (v.overlaps > 0) overlaps(count, label, inverse, slope, factor);
        if (!has_gradient) return true;
        if (v.overlaps > 0)
            for (int64_t c = 0; c < v.channels; ++c) parts[c] *= slopes[c] * inverse + factor;
        else
            for (int64_t c = 0; c < v.channels; ++c) parts[c] *= factor;
        for (int64_t i = 0; i < count; ++i)
            if (label[i] >= 0) parts[label[i]][i] -= slope[i];
        return true;
    }

    // The sums of each class, the slopes of the probabilities, and what they add to those of the logits.
    void overlaps(int64_t count, const int64_t* label, const Values& inverse, Values& slope, Values& factor) {
        clear(slopes);
        for (int64_t i = 0; i < v.overlaps; ++i) {
            const T *weights = table(v.overlap_weights, i), *of_right = table(v.overlap_slopes, 2 * i);
            Values weight{};
            for (int64_t p = 0; p < count; ++p) {
                if (label[p] < 0) continue;
                weight[p] = weights[label[p]];
                const T right = weight[p] * (parts[label[p]][p] * inverse[p]);
                this->right_sums[i * v.channels + label[p]] += static_cast<double>(right);
                if (has_gradient) slope[p] -= of_right[label[p]] * right;
            }
            const Values scale = weight * inverse;
            Values* sums = &power_sums[i * v.channels];
            const bool is_square = v.powers[i] == 2;
            for (int64_t c = 0; c < v.channels; ++c)
                sums[c] += is_square ? (parts[c] * inverse) * (parts[c] * scale) : parts[c] * scale;
            if (!has_gradient) continue;
            const T* factors = table(v.overlap_slopes, 2 * i + 1);
            for (int64_t c = 0; c < v.channels; ++c)
                slopes[c] += factors[c] * (is_square ? 2 * parts[c] * scale : weight);
        }
        if (++unsaid == PIXELS) say_powers();
        if (!has_gradient) return;
        Values mean{};
        for (int64_t c = 0; c < v.channels; ++c) mean += slopes[c] * parts[c];
        factor = (slope - mean * inverse) * inverse;
    }

    void say_powers() {
        unsaid = 0;
        for (size_t i = 0; i < power_sums.size(); ++i)
            for (int64_t lane = 0; lane < LANES; ++lane)
                this->found_powers[i] += static_cast<double>(power_sums[i][lane]);
        clear(power_sums);
    }
};

// COUNT vectors hold the channels of a pixel, or any number where it is 0.
template <typename T, int COUNT> class Rows : Sums<T> {
    using Base = Sums<T>;
    using typename Base::Row;
    using typename Base::Values;
    using Base::clear, Base::has_gradient, Base::LANES, Base::table, Base::v;
    using Integer = std::conditional_t<std::is_same_v<T, float>, int32_t, int64_t>;
    using Integers = typename Vector<Integer, BYTES>::Type;

    const int64_t any_vectors, length;
    bool lower_has_some = false;
    // Rows of the source, `upper` and `lower`, and what lies between them; the gradient of each.
    Row upper, lower, between, of_upper, of_lower, of_between;
    Row power_sums, power_slopes;
    // As many pixels as a vector has lanes, which go from step to step together so that none waits for another.
    struct {
        int64_t size, x[LANES], label[LANES];
        T share[LANES], total[LANES], behind[LANES], slope[LANES], inverse[LANES];
    } some;
    Row parts;  // of their softmax
    Row slopes;
    Integers lanes;
    int64_t unsaid = 0;

  public:
    explicit Rows(const Visit& visit)
        : Base(visit), any_vectors((v.channels + LANES - 1) / LANES), length(any_vectors * LANES) {
        const int64_t size = vectors() * v.low_width;
        for (Row* row : {&upper, &lower, &between}) row->resize(size);
        if (has_gradient)
            for (Row* row : {&of_upper, &of_lower, &of_between}) row->resize(size);
        parts.resize(LANES * vectors());
        slopes.resize(vectors());
        some.size = 0;
        std::fill(some.total, some.total + LANES, 1);
        for (int64_t lane = 0; lane < LANES; ++lane) lanes[lane] = static_cast<Integer>(lane);
        power_sums.resize(v.overlaps * vectors());
        power_slopes.resize(v.overlaps * vectors());
        if (has_gradient)
            for (int64_t i = 0; i < v.overlaps; ++i)
                std::memcpy(&power_slopes[i * vectors()], table(v.overlap_slopes, 2 * i + 1), v.channels * sizeof(T));
    }

    void visit() {
        int64_t place = -1;
        for (int64_t y = v.start; y < v.stop; ++y) {
            if (v.row_places[y] != place) {
                advance(place, v.row_places[y]);
                place = v.row_places[y];
            }
            const T share = has_next(place) ? static_cast<const T*>(v.row_shares)[y] : 0;
            if (share == 0) {
                pixels(y, upper, of_upper);
            } else {
                for (size_t i = 0; i < between.size(); ++i) between[i] = upper[i] * (1 - share) + lower[i] * share;
                if (pixels(y, between, of_between)) fold(share);
            }
            say_powers();
        }
        advance(place, v.low_height);
        this->say();
    }

  private:
    int64_t vectors() const { return COUNT > 0 ? COUNT : any_vectors; }

    bool has_next(int64_t place) const { return place + 1 < v.low_height; }

    // Read the rows of the source at and after `to`; the gradient of what is not among them is complete.
    void advance(int64_t from, int64_t to) {
        const bool is_next = from >= 0 && to == from + 1;
        if (has_gradient && from >= 0) {
            write(from, of_upper);
            if (is_next)
                of_upper.swap(of_lower);
            else if (lower_has_some)
                write(from + 1, of_lower);
            // Else it is not touched: it may be another core's.
            lower_has_some = false;
        }
        if (to == v.low_height) return;
        if (is_next)
            upper.swap(lower);
        else
            read(to, upper);
        if (has_next(to)) read(to + 1, lower);
    }

    // The channels of each place side by side; behind them numbers that have no share in a softmax.
    void read(int64_t place, Row& row) const {
        T* target = reinterpret_cast<T*>(row.data());
        const T* source = static_cast<const T*>(v.source) + place * v.low_width;
        const int64_t step = v.low_height * v.low_width;
        for (int64_t start = 0; start < v.low_width; start += LANES) {
            const int64_t stop = std::min(start + LANES, v.low_width);
            for (int64_t x = start; x < stop; ++x) row[(x + 1) * vectors() - 1] = lowest();
            for (int64_t c = 0; c < v.channels; ++c)
                for (int64_t x = start; x < stop; ++x) target[x * length + c] = source[c * step + x];
        }
    }

    // Add the gradient of a row to that of the source, or write it where nothing was before.
    void write(int64_t place, Row& row) const {
        if (v.is_fresh)
            write(place, row, [](T& sum, T value) { sum = value; });
        else
            write(place, row, [](T& sum, T value) { sum += value; });
        clear(row);
    }

    template <typename Operation> void write(int64_t place, const Row& row, Operation put) const {
        const T* source = reinterpret_cast<const T*>(row.data());
        T* target = static_cast<T*>(v.gradient) + (place - v.first) * v.low_width;
        for (int64_t start = 0; start < v.low_width; start += LANES) {
            const int64_t stop = std::min(start + LANES, v.low_width);
            for (int64_t c = 0; c < v.channels; ++c)
                for (int64_t x = start; x < stop; ++x) put(target[c * v.gradient_stride + x], source[x * length + c]);
        }
    }

    static Values lowest() { return Values{} + std::numeric_limits<T>::lowest() / 4; }

    // The gradient of a row between two others is theirs.
    void fold(T share) {
        lower_has_some = true;
        for (size_t i = 0; i < of_between.size(); ++i) {
            of_upper[i] += of_between[i] * (1 - share);
            of_lower[i] += of_between[i] * share;
        }
        clear(of_between);
    }

    // Whether a pixel of the row counts.
    bool pixels(int64_t y, const Row& row, Row& of_row) {
        const int64_t* labels = v.labels + y * v.width;
        const T* shares = static_cast<const T*>(v.column_shares);
        T* surprises = this->surprises(y);
        bool any = false;
        for (int64_t x = 0; x < v.width; ++x) {
            const int64_t label = labels[x];
            if (!this->is_wanted(label, surprises, x)) continue;
            const int64_t i = some.size++;
            some.x[i] = x;
            some.label[i] = label;
            some.share[i] = v.column_places[x] + 1 < v.low_width ? shares[x] : 0;
            softmax(i, &row[v.column_places[x] * vectors()]);
            if (some.size == LANES) any |= settle(surprises, of_row);
        }
        return settle(surprises, of_row) || any;
    }

    // The exponentials of the logits of a pixel less its highest one, their sum, and how far the true one is behind.
    void softmax(int64_t i, const Values* near) {
        Values* logits = &parts[i * vectors()];
        const T share = some.share[i];
        if (share == 0)
            for (int64_t k = 0; k < vectors(); ++k) logits[k] = near[k];
        else
            for (int64_t k = 0; k < vectors(); ++k) logits[k] = near[k] * (1 - share) + near[vectors() + k] * share;
        Values highest = logits[0];
        for (int64_t k = 1; k < vectors(); ++k) highest = logits[k] > highest ? logits[k] : highest;
        const T peak = together<T, BYTES>(&highest, [](auto one, auto other) { return one > other ? one : other; });
        some.behind[i] = peak - reinterpret_cast<const T*>(logits)[some.label[i]];
        Values total{};
        for (int64_t k = 0; k < vectors(); ++k) {
            logits[k] = exponential(logits[k] - peak);
            total += logits[k];
        }
        some.total[i] = sum(total);
    }

    static T sum(const Values& values) {
        return together<T, BYTES>(&values, [](auto one, auto other) { return one + other; });
    }

    // What some pixels add to the sums, and their gradient; whether one of them counts.
    bool settle(T* surprises, Row& of_row) {
        Values totals;
        std::memcpy(&totals, some.total, BYTES);
        const Values logarithms = logarithm(totals), inverses = 1 / totals;
        std::memcpy(some.inverse, &inverses, BYTES);
        bool any = false;
        for (int64_t i = 0; i < some.size; ++i) {
            const int64_t label = some.label[i];
            const T surprise = logarithms[i] + some.behind[i];
            if (!this->counts(label, surprise, some.behind[i], surprises, some.x[i])) {
                some.label[i] = -1;
                continue;
            }
            any = true;
            some.slope[i] = this->means(label, surprise);
        }
        if (v.overlaps > 0 || has_gradient)
            for (int64_t i = 0; i < some.size; ++i) {
                if (some.label[i] < 0) continue;
                if (v.overlaps > 0) overlaps(i);
                if (has_gradient) gradient(i, &of_row[v.column_places[some.x[i]] * vectors()]);
            }
        some.size = 0;
        return any;
    }

    // The sums of each class, and the slopes of the probabilities.
    void overlaps(int64_t pixel) {
        const Values* own = &parts[pixel * vectors()];
        const int64_t label = some.label[pixel];
        const T inverse = some.inverse[pixel], right = reinterpret_cast<const T*>(own)[label] * inverse;
        std::fill(slopes.begin(), slopes.end(), Values{});
        for (int64_t i = 0; i < v.overlaps; ++i) {
            const T weight = table(v.overlap_weights, i)[label], scale = weight * inverse;
            Values* sums = &power_sums[i * vectors()];
            if (v.powers[i] == 1)
                for (int64_t k = 0; k < vectors(); ++k) sums[k] += own[k] * scale;
            else
                for (int64_t k = 0; k < vectors(); ++k) sums[k] += (own[k] * inverse) * (own[k] * scale);
            this->right_sums[i * v.channels + label] += static_cast<double>(weight * right);
            if (!has_gradient) continue;
            some.slope[pixel] -= table(v.overlap_slopes, 2 * i)[label] * weight * right;
            const Values* factors = &power_slopes[i * vectors()];
            if (v.powers[i] == 1)
                for (int64_t k = 0; k < vectors(); ++k) slopes[k] += factors[k] * weight;
            else
                for (int64_t k = 0; k < vectors(); ++k) slopes[k] += factors[k] * (own[k] * (2 * scale));
        }
        if (++unsaid == PIXELS) say_powers();
    }

    void say_powers() {
        unsaid = 0;
        const T* sums = reinterpret_cast<const T*>(power_sums.data());
        for (int64_t i = 0; i < v.overlaps; ++i)
            for (int64_t c = 0; c < v.channels; ++c)
                this->found_powers[i * v.channels + c] += static_cast<double>(sums[i * length + c]);
        clear(power_sums);
    }

    // Through the softmax and the resizing from left to right.
    void gradient(int64_t pixel, Values* near) {
        Values* own = &parts[pixel * vectors()];
        const T share = some.share[pixel], inverse = some.inverse[pixel], slope = some.slope[pixel];
        T factor = slope * inverse;
        if (v.overlaps > 0) {
            Values mean{};
            for (int64_t k = 0; k < vectors(); ++k) mean += slopes[k] * own[k];
            factor -= sum(mean) * inverse * inverse;
            for (int64_t k = 0; k < vectors(); ++k) own[k] *= slopes[k] * inverse + factor;
        } else {
            for (int64_t k = 0; k < vectors(); ++k) own[k] *= factor;
        }
        const Values at_label = Values{} + slope;
        Integers places = lanes - static_cast<Integer>(some.label[pixel]);
        for (int64_t k = 0; k < vectors(); ++k, places += LANES) own[k] -= places == 0 ? at_label : Values{};
        if (share == 0) {
            for (int64_t k = 0; k < vectors(); ++k) near[k] += own[k];
            return;
        }
        for (int64_t k = 0; k < vectors(); ++k) near[k] += own[k] * (1 - share);
        for (int64_t k = 0; k < vectors(); ++k) near[vectors() + k] += own[k] * share;
    }
};

template <typename T, int COUNT> void visit(const Visit& visit) {
    Rows<T, COUNT>(visit).visit();
}

template <typename T> void visit(const Visit& rows) {
    if (rows.is_same) return Direct<T>(rows).visit();
    switch ((rows.channels * static_cast<int64_t>(sizeof(T)) + BYTES - 1) / BYTES) {
        case 1: return visit<T, 1>(rows);
        case 2: return visit<T, 2>(rows);
        default: return visit<T, 0>(rows);
    }
}

}  // namespace

extern "C" void visit_float(const Visit* rows) { visit<float>(*rows); }

extern "C" void visit_double(const Visit* rows) { visit<double>(*rows); }
