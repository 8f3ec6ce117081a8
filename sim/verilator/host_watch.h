// Ends the simulator when the host process that owns it is gone, however it went.
//
// PR_SET_PDEATHSIG is not used: it fires when the *thread* that started the simulator ends, and
// hosts start simulators from worker threads.

#ifndef PIMLOOP_HOST_WATCH_H_
#define PIMLOOP_HOST_WATCH_H_

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>

namespace pimloop {

/// Set when the host is gone; the main loop ends in order when it sees this.
inline std::atomic<bool> host_gone{false};

/// Set by the main thread when the application has ended and only results are still written.
inline std::atomic<bool> loop_ended{false};

/// Start a thread that watches the socket of $PIMLOOP_SOCKET_FD and the process $PIMLOOP_HOST_PID.
inline void watch_host() {
    const char* const socket_text = std::getenv("PIMLOOP_SOCKET_FD");
    const char* const pid_text = std::getenv("PIMLOOP_HOST_PID");
    if (!socket_text || !pid_text) return;
    // A descriptor of its own: the device server closes the socket when it has served, and the host
    // is not gone then.
    const int socket_fd = fcntl(std::atoi(socket_text), F_DUPFD_CLOEXEC, 0);
    const pid_t host = std::atoi(pid_text);
    std::thread([=] {
        constexpr int kPollMs = 500;
        constexpr auto kGrace = std::chrono::seconds(2);
        pollfd peer{socket_fd, POLLRDHUP, 0};
        // The socket tells at once, unless another child of the host still holds its other end.
        while (poll(&peer, 1, kPollMs) <= 0 && getppid() == host) {}
        host_gone = true;
        std::this_thread::sleep_for(kGrace);
        // The main thread may be inside a long callback. Where it noticed, a waveform or coverage
        // data of many megabytes can take it longer than this: it ends by itself.
        if (!loop_ended) _exit(EXIT_FAILURE);
    }).detach();
}

}  // namespace pimloop

#endif
