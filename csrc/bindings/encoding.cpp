#include "bindings/encoding.hpp"

#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <utility>

#include "base/error.hpp"
#include "llama/fork_stamp.hpp"
#include "llama/tokenizer.hpp"

namespace tea::bindings {

namespace {

constexpr size_t long_text_bytes = 8192;  // 3 ms
constexpr std::chrono::seconds longest_wait_at_exit{30};

std::atomic<int> n_running{0};

struct Encoding {
    std::shared_ptr<const Model> model;
    std::string text;
    bool add_special;
    bool parse_special;
    std::mutex mutex;
    std::condition_variable done;
    bool is_done = false;         // guarded by mutex
    std::vector<int32_t> tokens;  // the thread's until is_done
    std::exception_ptr error;     // the thread's until is_done

    void run() {
        try {
            tokens = tokenizer::encode(*model, text, add_special, parse_special);
        } catch (...) {
            error = std::current_exception();
        }
        const std::lock_guard lock(mutex);
        is_done = true;
        done.notify_all();
    }

    bool wait(std::chrono::milliseconds slice) {
        std::unique_lock lock(mutex);
        return done.wait_for(lock, slice, [&] { return is_done; });
    }
};

void start(std::shared_ptr<Encoding> encoding) {
    n_running.fetch_add(1);
    try {
        std::thread([encoding = std::move(encoding)]() mutable {
            encoding->run();
            encoding.reset();  // perhaps the last to hold the model
            n_running.fetch_sub(1);
        }).detach();
    } catch (const std::system_error& error) {
        n_running.fetch_sub(1);
        throw Error(ErrorKind::inference,
                    std::string("no thread could be started to tokenize a long text: ") + error.what());
    }
}

}  // namespace

std::vector<int32_t> encode_interruptibly(std::shared_ptr<const Model> model, std::string text,
                                          bool add_special, bool parse_special, const py::object& check) {
    if (text.size() <= long_text_bytes) {
        const GilRelease released;
        return tokenizer::encode(*model, text, add_special, parse_special);
    }
    auto encoding = std::make_shared<Encoding>();
    encoding->model = std::move(model);
    encoding->text = std::move(text);
    encoding->add_special = add_special;
    encoding->parse_special = parse_special;
    start(encoding);
    wait_interruptibly([&](auto slice) { return encoding->wait(slice); }, [] {},
                       [&] {
                           if (!check.is_none()) {
                               check();
                           }
                       });
    if (encoding->error) {
        std::rethrow_exception(encoding->error);
    }
    return std::move(encoding->tokens);
}

void await_encodings_at_exit() {
    const runtime::ForkStamp stamp;  // a child of fork() has none of the threads
    const auto wait = [stamp] {
        const auto limit = std::chrono::steady_clock::now() + longest_wait_at_exit;
        wait_interruptibly(
            [&](auto slice) {
                while (n_running > 0 && !stamp.is_foreign() && slice.count() > 0) {
                    std::this_thread::sleep_for(std::chrono::milliseconds(1));
                    --slice;
                }
                return n_running == 0 || stamp.is_foreign() || std::chrono::steady_clock::now() > limit;
            },
            [] {});
    };
    py::module_::import("atexit").attr("register")(py::cpp_function(wait));
}

}  // namespace tea::bindings
