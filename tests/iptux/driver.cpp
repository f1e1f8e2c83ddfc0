// A host of IPMSG that is none of ours: the core of iptux (Debian's package of that name), driven by lines.
//
//     driver IP NICKNAME
//
// It reads lines, and writes one for each thing that happens:
//
//     hello IP               says that it is there              online IP NICKNAME
//     send IP TEXT           sends a message                    acknowledged | unanswered
//     offer IP PATH          offers a file or a directory       message IP TEXT
//     fetch PATH             fetches what was offered last      file IP SIZE NAME
//     quit                                                      fetched PATH | failed PATH | sent
//
// Everything that it keeps is in $HOME, which the test sets.

#include <sys/stat.h>

#include <cstring>
#include <iostream>
#include <mutex>
#include <sstream>
#include <string>

#include "iptux-core/CoreThread.h"

namespace {

std::mutex out;

void say(const std::string& line) {
  std::lock_guard<std::mutex> lock(out);
  std::cout << line << std::endl;
}

in_addr address(const std::string& text) {
  in_addr found;
  if (inet_pton(AF_INET, text.c_str(), &found) != 1) {
    throw std::runtime_error("no address: " + text);
  }
  return found;
}

// The last file that somebody offered.
std::mutex offered_mutex;
std::shared_ptr<iptux::FileInfo> offered;

void happens(std::shared_ptr<const iptux::Event> event) {
  using namespace iptux;
  switch (event->getType()) {
    case EventType::NEW_PAL_ONLINE: {
      auto pal = static_cast<const NewPalOnlineEvent*>(event.get())->getPalInfo();
      say("online " + pal->GetKey().GetIpv4String() + " " + pal->getName());
      break;
    }
    case EventType::NEW_MESSAGE: {
      const auto& message = static_cast<const NewMessageEvent*>(event.get())->getMsgPara();
      for (const auto& chip : message.dtlist) {
        say("message " + message.getPal()->GetKey().GetIpv4String() + " " + chip.data);
      }
      break;
    }
    case EventType::NEW_SHARE_FILE_FROM_FRIEND: {
      const auto& file = static_cast<const NewShareFileFromFriendEvent*>(event.get())->GetFileInfo();
      {
        std::lock_guard<std::mutex> lock(offered_mutex);
        offered = std::make_shared<FileInfo>(file);
      }
      say("file " + file.fileown->GetKey().GetIpv4String() + " " + std::to_string(file.filesize) +
          " " + file.filepath);
      break;
    }
    case EventType::SEND_FILE_FINISHED:
      say("sent");
      break;
    default:
      break;
  }
}

}  // namespace

int main(int argc, char** argv) {
  using namespace iptux;
  if (argc != 3) {
    std::cerr << "usage: driver IP NICKNAME" << std::endl;
    return 2;
  }
  auto config = IptuxConfig::newFromString("{}");
  config->SetString("bind_ip", argv[1]);
  config->SetBool("debug_dont_broadcast", true);
  auto data = std::make_shared<ProgramData>(config);
  data->nickname = argv[2];
  data->mygroup = "iptux";
  // So that a message which nobody acknowledges does not take four seconds.
  data->send_message_retry_in_us = 200000;
  CoreThread core(data);
  core.signalEvent.connect(sigc::ptr_fun(happens));
  core.start();
  say("ready");

  std::string line;
  uint32_t next_file = 10001;
  while (std::getline(std::cin, line)) {
    std::istringstream words(line);
    std::string what, ip, rest;
    words >> what;
    if (what == "quit") {
      break;
    }
    if (what == "fetch") {
      std::getline(words >> std::ws, rest);
      std::shared_ptr<FileInfo> file;
      {
        std::lock_guard<std::mutex> lock(offered_mutex);
        file = offered;
      }
      if (!file) {
        say("failed " + rest);
        continue;
      }
      free(file->filepath);
      file->filepath = strdup(rest.c_str());
      core.RecvFile(file.get());
      say((file->finishedsize == file->filesize ? "fetched " : "failed ") + rest);
      continue;
    }
    words >> ip;
    std::getline(words >> std::ws, rest);
    if (what == "hello") {
      core.SendDetectPacket(ip);
    } else if (what == "send") {
      auto pal = core.GetPal(ip);
      if (!pal) {
        say("unanswered");
        continue;
      }
      core.SendMessage(pal, rest);
      // It forgets the number when that was acknowledged.
      say(core.GetPal(ip)->rpacketn == 0 ? "acknowledged" : "unanswered");
    } else if (what == "offer") {
      auto pal = core.GetPal(ip);
      auto file = std::make_shared<FileInfo>();
      file->fileid = next_file++;
      struct stat found;
      bool is_directory = stat(rest.c_str(), &found) == 0 && S_ISDIR(found.st_mode);
      file->fileattr = is_directory ? FileAttr::DIRECTORY : FileAttr::REGULAR;
      file->fileown = pal;
      file->filepath = strdup(rest.c_str());
      core.AddPrivateFile(file);
      core.BcstFileInfoEntry({pal.get()}, {file.get()});
    }
  }
  core.stop();
  return 0;
}
