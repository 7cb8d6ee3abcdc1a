/*
 * One participant of a call, as tests/c_call.rs wants it:
 *
 *     call talk URL SECONDS HZ      send a tone, print what is heard
 *     call listen URL SECONDS HZ    send nothing, print how many tenths of a second were a tone of that frequency
 *     call play URL SECONDS HZ      send the tone as music at 48 kHz
 *     call hear URL SECONDS HZ      listen at 48 kHz
 *     call try URL [PEM_FILE]       print the code with which the call fails, or 0 if it connects
 *     call show URL                 two calls in one process: pictures from one reach the other
 *     call abandon URL              free calls in every state, without leaving them
 *     call misuse                   give every function what it must refuse
 *
 * Results are `name value` lines on stdout. It exits with 1 if the library breaks a promise.
 */
#define _POSIX_C_SOURCE 200809L
#include "undertone.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PI 3.14159265358979
enum { RATE = 16000, STEP = RATE / 100, RATE_FULL = 48000 };

#define CHECK(what)                                                                                          \
    do {                                                                                                     \
        if (!(what)) {                                                                                       \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what);                               \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

static long long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void wait_until(long long due) {
    long long left = due - now_ns();
    if (left > 0) {
        struct timespec nap = { .tv_sec = left / 1000000000, .tv_nsec = left % 1000000000 };
        nanosleep(&nap, NULL);
    }
}

static ut_call *start_with(const ut_options *options) {
    ut_call *call = NULL;
    CHECK(ut_call_new(options, &call) == UT_OK);
    CHECK(call != NULL);
    CHECK(ut_call_join(call) == UT_OK);
    CHECK(ut_call_join(call) == UT_BAD_STATE);
    return call;
}

static ut_call *start(const char *url, const char *name, uint32_t send) {
    ut_options options = { .size = sizeof options, .room_url = url, .name = name, .send = send };
    return start_with(&options);
}

/*
 * What is heard, tenth by tenth of a second: its energy, and how much of that is one frequency (Goertzel).
 * Short windows, since a jitter buffer may stretch time here and there, which shifts the phase.
 */
struct ear {
    double hz, energy, s1, s2;
    int rate, samples, crossings;
    int16_t last;
    /* Windows that were that tone, and what they sum up to. */
    int tones, tone_crossings;
    double tone_rms;
};

static void hear(struct ear *ear, const int16_t *pcm, int samples) {
    double turn = 2 * cos(2 * PI * ear->hz / ear->rate);
    for (int i = 0; i < samples; i++) {
        double s0 = pcm[i] + turn * ear->s1 - ear->s2;
        ear->s2 = ear->s1;
        ear->s1 = s0;
        ear->energy += (double)pcm[i] * pcm[i];
        ear->crossings += ear->last < 0 && pcm[i] >= 0;
        ear->last = pcm[i];
    }
    ear->samples += samples;
    if (ear->samples < ear->rate / 10)
        return;
    double tone = ear->s1 * ear->s1 + ear->s2 * ear->s2 - turn * ear->s1 * ear->s2;
    double share = ear->energy > 0 ? 2 * tone / (ear->samples * ear->energy) : 0;
    double rms = sqrt(ear->energy / ear->samples);
    if (share > 0.9 && rms > 1000) {
        ear->tones++;
        ear->tone_crossings += ear->crossings;
        ear->tone_rms += rms;
    }
    ear->energy = ear->s1 = ear->s2 = 0;
    ear->samples = ear->crossings = 0;
}

static int converse(const char *url, const char *name, int talks, int rate, double seconds, double hz) {
    ut_options options = { .size = sizeof options, .room_url = url, .name = name, .send = talks ? UT_AUDIO : 0 };
    if (rate == RATE_FULL) {
        options.sound = talks ? UT_MUSIC : UT_SPEECH;
        options.sample_rate = RATE_FULL;
    }
    ut_call *call = start_with(&options);
    int frame = rate / 100;
    struct ear ear = { .hz = hz, .rate = rate };
    ut_stats stats = { .size = sizeof stats };
    int over = 0, muted = 0;
    uint32_t people = 0;
    long long due = now_ns();
    /* The listener takes 20 ms at a time, as many devices do; the talker 10. */
    int pull = talks ? 1 : 2;
    for (int step = 0; step < seconds * 100 && !over; step++) {
        int16_t pcm[2 * RATE_FULL / 100];
        if (talks) {
            for (int i = 0; i < frame; i++)
                pcm[i] = (int16_t)(8000 * sin(2 * PI * hz * (step * frame + i) / rate));
            CHECK(ut_call_push(call, pcm, (size_t)frame) == UT_OK);
        }
        if (step % pull == 0) {
            CHECK(ut_call_pull(call, (size_t)(pull * frame), pcm) == UT_OK);
            hear(&ear, pcm, pull * frame);
        }
        const ut_event *event;
        while (ut_call_poll(call, &event) == UT_OK) {
            CHECK(event->text != NULL);
            switch (event->kind) {
            case UT_EVENT_JOINED:
                CHECK(event->participant > 0);
                printf("joined %u\n", event->participant);
                break;
            case UT_EVENT_ROSTER:
                people = event->participant_count > people ? (uint32_t)event->participant_count : people;
                for (size_t i = 0; i < event->participant_count; i++) {
                    CHECK(event->participants[i].name != NULL && event->participants[i].id > 0);
                    if (!muted && strcmp(event->participants[i].name, name) != 0 &&
                        event->participants[i].muted == UT_AUDIO) {
                        /* What follows is a pause, which is nobody's loss. */
                        muted = 1;
                        CHECK(ut_call_stats(call, &stats) == UT_OK);
                        CHECK(stats.size == sizeof stats);
                        printf("concealed %llu\n", (unsigned long long)stats.concealed_ms);
                    }
                }
                break;
            case UT_EVENT_CONNECTED:
                printf("connected %u\n", event->setup_ms);
                break;
            case UT_EVENT_SLOT:
                if (event->participant > 0 && event->media == UT_AUDIO)
                    printf("slot %u\n", event->participant);
                break;
            case UT_EVENT_SENDING:
                CHECK(event->sound == UT_SPEECH || event->sound == UT_MUSIC);
                break;
            case UT_EVENT_ENDED:
            case UT_EVENT_FAILED:
                printf("over %u %s\n", event->code, event->text);
                over = 1;
                break;
            }
        }
        /* The talker ends with a second of silence behind its mute. */
        if (talks && step == (int)(seconds * 100) - 100)
            CHECK(ut_call_mute(call, UT_AUDIO, 1) == UT_OK);
        wait_until(due += 10000000);
    }

    CHECK(ut_call_stats(call, &stats) == UT_OK);
    printf("people %u\nmuted %d\n", people, muted);
    int tones = ear.tones > 0 ? ear.tones : 1;
    printf("tones %d\nrms %.0f\nhz %.1f\n", ear.tones, ear.tone_rms / tones, 10.0 * ear.tone_crossings / tones);
    printf("sent %llu\nreceived %llu\nplayed %llu\nmissing %llu\n",
           (unsigned long long)stats.wire_sent_bytes, (unsigned long long)stats.wire_received_bytes,
           (unsigned long long)stats.played_ms,
           (unsigned long long)stats.speaker_missing);

    if (!over) {
        CHECK(ut_call_leave(call) == UT_OK);
        const ut_event *event = NULL;
        long long until = now_ns() + 2000000000LL;
        while (!over && now_ns() < until) {
            while (ut_call_poll(call, &event) == UT_OK)
                over |= event->kind == UT_EVENT_ENDED;
            wait_until(now_ns() + 5000000);
        }
        printf("left %d\n", over);
    }
    ut_call_free(call);
    return 0;
}

static int try(const char *url, const char *pem_file) {
    static char pem[16384];
    if (pem_file) {
        FILE *file = fopen(pem_file, "r");
        CHECK(file != NULL);
        CHECK(fread(pem, 1, sizeof pem - 1, file) > 0);
        fclose(file);
    }
    ut_options options = {
        .size = sizeof options, .room_url = url, .trust_pem = pem_file ? pem : NULL, .send = UT_AUDIO
    };
    ut_call *call = start_with(&options);
    int told = 0;
    for (int wait = 0; wait < 1500 && !told; wait++) {
        const ut_event *event;
        while (ut_call_poll(call, &event) == UT_OK)
            if (event->kind == UT_EVENT_FAILED || event->kind == UT_EVENT_CONNECTED) {
                printf("code %u\ntext %s\n", event->code, event->text);
                CHECK(strlen(ut_result_text(event->code)) > 0);
                told = 1;
            }
        wait_until(now_ns() + 10000000);
    }
    ut_call_free(call);
    return 0;
}

/* One camera shows a bright picture, the other end must see it. */
static int show(const char *url) {
    enum { WIDTH = 320, HEIGHT = 180, STRIDE = 352, BRIGHT = 190 };
    static uint8_t y[STRIDE * HEIGHT], chroma[STRIDE / 2 * HEIGHT / 2];
    memset(y, BRIGHT, sizeof y);
    memset(chroma, 128, sizeof chroma);
    ut_picture picture = {
        .width = WIDTH, .height = HEIGHT, .y_stride = STRIDE, .uv_stride = STRIDE / 2,
        .y = y, .u = chroma, .v = chroma
    };
    ut_options camera_options = {
        .size = sizeof camera_options, .room_url = url, .name = "camera", .send = UT_AUDIO | UT_VIDEO,
        .video_width = WIDTH, .video_height = HEIGHT, .video_fps = 25
    };
    ut_options screen_options = { .size = sizeof screen_options, .room_url = url, .name = "screen", .video_slots = 1 };
    ut_call *camera = start_with(&camera_options), *screen = start_with(&screen_options);
    int seen = 0;
    uint32_t sender = 0, shown_by = 0;
    double luma = 0;
    for (int step = 0; step < 1000 && seen < 25; step++) {
        CHECK(ut_call_push_picture(camera, &picture) == UT_OK);
        const ut_event *event;
        while (ut_call_poll(camera, &event) == UT_OK) {
            CHECK(event->kind != UT_EVENT_FAILED);
            if (event->kind == UT_EVENT_JOINED)
                sender = event->participant;
        }
        const ut_picture *shown;
        while (ut_call_pull_picture(screen, &shown) == UT_OK) {
            CHECK(shown->width == WIDTH && shown->height == HEIGHT);
            shown_by = shown->participant;
            luma = shown->y[shown->y_stride * (HEIGHT / 2) + WIDTH / 2];
            seen++;
        }
        wait_until(now_ns() + 40000000);
    }
    printf("pictures %d\nluma %.0f\nby %u\nsender %u\n", seen, luma, shown_by, sender);
    ut_call_free(screen);
    ut_call_free(camera);
    return 0;
}

static int abandon(const char *url) {
    static const int waits_ms[] = { 0, 1, 5, 20, 60, 150, 400 };
    ut_options options = { .size = sizeof options, .room_url = url, .send = UT_AUDIO };
    ut_call *call = NULL;
    CHECK(ut_call_new(&options, &call) == UT_OK);
    CHECK(ut_call_leave(call) == UT_BAD_STATE);
    ut_call_free(call);
    ut_call_free(NULL);
    long long slowest = 0;
    for (size_t i = 0; i < sizeof waits_ms / sizeof *waits_ms; i++) {
        int16_t pcm[STEP] = { 0 };
        call = start(url, "fleeting", UT_AUDIO);
        CHECK(ut_call_push(call, pcm, STEP) == UT_OK);
        wait_until(now_ns() + waits_ms[i] * 1000000LL);
        CHECK(ut_call_pull(call, STEP, pcm) == UT_OK);
        long long before = now_ns();
        ut_call_free(call);
        long long took = now_ns() - before;
        slowest = took > slowest ? took : slowest;
    }
    printf("slowest %lld\n", slowest / 1000000);
    return 0;
}

static int misuse(void) {
    int16_t pcm[STEP] = { 0 };
    const ut_event *event = NULL;
    const ut_picture *seen = NULL;
    ut_stats stats = { .size = sizeof stats };
    ut_options options = { .size = sizeof options, .room_url = "http://127.0.0.1:9/room" };
    ut_call *call = NULL;

    CHECK(strlen(ut_version()) >= 5);
    CHECK(strcmp(ut_result_text(UT_OK), "done") == 0);
    CHECK(strlen(ut_result_text(987654)) > 0);
    CHECK(ut_call_new(NULL, &call) == UT_NULL);
    CHECK(ut_call_new(&options, NULL) == UT_NULL);
    ut_options bad = options;
    bad.room_url = "http://127.0.0.1:9/";
    CHECK(ut_call_new(&bad, &call) == UT_BAD_URL);
    bad = options;
    bad.send = 8;
    CHECK(ut_call_new(&bad, &call) == UT_BAD_ARGUMENT);
    bad = options;
    bad.sample_rate = 44100;
    CHECK(ut_call_new(&bad, &call) == UT_BAD_ARGUMENT);
    bad = options;
    bad.size = 3;
    CHECK(ut_call_new(&bad, &call) == UT_BAD_ARGUMENT);
    CHECK(call == NULL); /* Outputs are written only on success. */

    CHECK(ut_call_join(NULL) == UT_NULL);
    CHECK(ut_call_push(NULL, pcm, STEP) == UT_NULL);
    CHECK(ut_call_pull(NULL, STEP, pcm) == UT_NULL);
    CHECK(ut_call_push_picture(NULL, NULL) == UT_NULL);
    CHECK(ut_call_pull_picture(NULL, &seen) == UT_NULL);
    CHECK(ut_call_poll(NULL, &event) == UT_NULL);
    CHECK(ut_call_stats(NULL, &stats) == UT_NULL);
    CHECK(ut_call_mute(NULL, UT_AUDIO, 1) == UT_NULL);
    CHECK(ut_call_leave(NULL) == UT_NULL);

    CHECK(ut_call_new(&options, &call) == UT_OK);
    CHECK(ut_call_push(call, NULL, STEP) == UT_NULL);
    CHECK(ut_call_push(call, pcm, STEP - 1) == UT_BAD_ARGUMENT);
    CHECK(ut_call_push(call, pcm, 0) == UT_BAD_ARGUMENT);
    CHECK(ut_call_pull(call, STEP, NULL) == UT_NULL);
    CHECK(ut_call_pull(call, 1, pcm) == UT_BAD_ARGUMENT);
    pcm[0] = 1;
    CHECK(ut_call_pull(call, STEP, pcm) == UT_OK && pcm[0] == 0);
    CHECK(ut_call_poll(call, NULL) == UT_NULL);
    CHECK(ut_call_poll(call, &event) == UT_DRAINED && event == NULL);
    CHECK(ut_call_pull_picture(call, NULL) == UT_NULL);
    CHECK(ut_call_pull_picture(call, &seen) == UT_DRAINED && seen == NULL);
    CHECK(ut_call_stats(call, NULL) == UT_NULL);
    stats.size = 4;
    CHECK(ut_call_stats(call, &stats) == UT_BAD_ARGUMENT);
    CHECK(ut_call_mute(call, 0, 1) == UT_BAD_ARGUMENT);
    CHECK(ut_call_mute(call, 4, 1) == UT_BAD_ARGUMENT);
    ut_picture picture = { .width = 2 };
    CHECK(ut_call_push_picture(call, NULL) == UT_NULL);
    CHECK(ut_call_push_picture(call, &picture) == UT_BAD_STATE);
    ut_call_free(call);

    options.sample_rate = RATE_FULL;
    CHECK(ut_call_new(&options, &call) == UT_OK);
    CHECK(ut_call_push(call, pcm, STEP) == UT_BAD_ARGUMENT);
    ut_call_free(call);

    options.send = UT_VIDEO;
    CHECK(ut_call_new(&options, &call) == UT_OK);
    CHECK(ut_call_push_picture(call, &picture) == UT_MEDIA);
    ut_call_free(call);
    return 0;
}

int main(int argc, char **argv) {
    /* A test that is stopped shall still have said what it saw. */
    setvbuf(stdout, NULL, _IOLBF, 0);
    const char *mode = argc > 1 ? argv[1] : "";
    if (argc == 5 && strcmp(mode, "talk") == 0)
        return converse(argv[2], "talker", 1, RATE, atof(argv[3]), atof(argv[4]));
    if (argc == 5 && strcmp(mode, "play") == 0)
        return converse(argv[2], "player", 1, RATE_FULL, atof(argv[3]), atof(argv[4]));
    if (argc == 5 && strcmp(mode, "hear") == 0)
        return converse(argv[2], "hearer", 0, RATE_FULL, atof(argv[3]), atof(argv[4]));
    if (argc == 5 && strcmp(mode, "listen") == 0)
        return converse(argv[2], "listener", 0, RATE, atof(argv[3]), atof(argv[4]));
    if ((argc == 3 || argc == 4) && strcmp(mode, "try") == 0)
        return try(argv[2], argc == 4 ? argv[3] : NULL);
    if (argc == 3 && strcmp(mode, "show") == 0)
        return show(argv[2]);
    if (argc == 3 && strcmp(mode, "abandon") == 0)
        return abandon(argv[2]);
    if (argc == 2 && strcmp(mode, "misuse") == 0)
        return misuse();
    fprintf(stderr, "usage: see the head of call.c\n");
    return 2;
}
